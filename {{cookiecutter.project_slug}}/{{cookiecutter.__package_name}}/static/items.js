// The page fetches the list plainly: that the response is never an old copy is
// the server's promise, made by its headers.

const url = document.querySelector("#items").dataset.url;
const list = document.querySelector("#saved-items");
const retry = document.querySelector("#retry");
const form = document.querySelector("#save-form");
const input = form.elements.name;
const button = form.querySelector("[type=submit]");
const status = document.querySelector("#status");
// milliseconds, after which people give up
const TIMEOUT = 10_000;

let latest = 0;
let saving = false;

function say(text, mood = "") {
  status.textContent = text;
  status.className = mood;
}

async function send(target, options) {
  const signal = AbortSignal.timeout(TIMEOUT);
  let text = "The server cannot be reached. Check the connection.";
  let response;
  let body;
  try {
    response = await fetch(target, { ...options, signal });
    text = `The server responded with status ${response.status}.`;
    body = await response.json();
  } catch (cause) {
    if (cause.name === "TimeoutError") text = "The server takes too long.";
    throw new Error(text, { cause });
  }
  if (response.ok) return body;
  throw new Error(body?.errors?.[0]?.detail ?? body?.detail ?? text);
}

function show(items, selected, otherwise) {
  list.replaceChildren(
    ...items.map((item) => new Option(item.name, item.id)),
  );
  if (!items.length) list.add(new Option(otherwise, ""));
  list.disabled = !items.length;
  list.value = selected;
  if (list.selectedIndex < 0) list.selectedIndex = 0;
}

async function refresh(saved = "", selected = list.value) {
  const turn = ++latest;
  let note = "";
  let mood = saved && "good";
  if (list.disabled) show([], "", "Loading…");
  try {
    const { items, next } = await send(`${url}?limit=100`);
    // a response that was overtaken by a later request is old
    if (turn !== latest) return;
    show(items, selected, "Nothing saved yet");
    if (next) note = `Showing the newest ${items.length} items.`;
    if (document.activeElement === retry) list.focus();
    retry.hidden = true;
  } catch (error) {
    if (turn !== latest) return;
    if (list.disabled) show([], "", "Not loaded");
    const state = list.disabled ? "could not be loaded" : "is not up to date";
    note = `The list ${state}. ${error.message}`;
    mood = "bad";
    retry.hidden = false;
  }
  say(`${saved} ${note}`.trim(), mood);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  // not the disabled attribute: it would take the focus away
  if (saving) return;
  saving = true;
  button.setAttribute("aria-disabled", "true");
  say("Saving…");
  try {
    const item = await send(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: input.value }),
    });
    form.reset();
    await refresh(`Saved “${item.name}”.`, item.id);
  } catch (error) {
    // where the API did not respond, the item may be there all the same
    const state = error.cause ? "It may not have been saved." : "Not saved.";
    say(`${state} ${error.message}`, "bad");
  }
  saving = false;
  button.removeAttribute("aria-disabled");
  input.focus();
});
// without this script the form would put the name into the address
button.disabled = false;

retry.addEventListener("click", () => {
  say("Loading…");
  refresh();
});

// the back/forward cache may keep even a no-store page as it was left
window.addEventListener("pageshow", (event) => {
  if (event.persisted) refresh();
});

say("");
refresh();
