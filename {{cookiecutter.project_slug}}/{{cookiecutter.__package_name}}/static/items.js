// The page asks for the list plainly: that the answer is never an old copy is
// the server's promise, made by its headers.

const url = document.querySelector("#items").dataset.url;
const list = document.querySelector("#saved-items");
const form = document.querySelector("#save-form");
const input = form.elements.name;
const button = form.querySelector("button");
const status = document.querySelector("#status");

let latest = 0;
let saving = false;

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

async function send(target, options) {
  let response;
  try {
    response = await fetch(target, options);
  } catch {
    throw new Error("The server cannot be reached. Check the connection and try again.");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const problem = answer?.errors?.[0]?.detail ?? answer?.detail;
  throw new Error(problem ?? `The server answered with status ${response.status}.`);
}

function show(items, selected) {
  list.replaceChildren(
    ...items.map((item) => new Option(item.name, item.id)),
  );
  if (!items.length) list.add(new Option("Nothing saved yet", ""));
  list.disabled = !items.length;
  list.value = selected;
  if (list.selectedIndex < 0) list.selectedIndex = 0;
}

async function refresh(selected = list.value) {
  const turn = ++latest;
  const { items, next } = await send(`${url}?limit=100`);
  // an answer that was overtaken by a later question is old
  if (turn !== latest) return "";
  show(items, selected);
  return next ? `Showing the newest ${items.length} items.` : "";
}

async function load() {
  try {
    say(await refresh());
  } catch (error) {
    if (list.value === "") show([]);
    say(`The list is not up to date. ${error.message}`, true);
  }
}

async function save() {
  const item = await send(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name: input.value }),
  });
  form.reset();
  try {
    const note = await refresh(item.id);
    say(`Saved “${item.name}”. ${note}`);
  } catch (error) {
    say(`Saved “${item.name}”, but the list is not up to date. ${error.message}`, true);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  // not the disabled attribute: it would take the focus away
  if (saving) return;
  saving = true;
  button.setAttribute("aria-disabled", "true");
  say("Saving…");
  try {
    await save();
  } catch (error) {
    say(`Not saved. ${error.message}`, true);
  }
  saving = false;
  button.removeAttribute("aria-disabled");
  input.focus();
});
// without this script the form would put the name into the address
button.disabled = false;

// the back/forward cache may keep even a no-store page as it was left
window.addEventListener("pageshow", (event) => {
  if (event.persisted) load();
});

load();
