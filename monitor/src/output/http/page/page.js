// Keeps a page fresh: when the stream tells that something happened, the page is fetched again, and what differs is put in
// its place. So there is one place that writes the host's own texts, the server's, and none of them becomes HTML here.
"use strict";

// Milliseconds between two fetches at least: many events at once are one.
const PAUSE = 400;
// When the history, alerts and processes of what happened are surely known.
const SETTLED = 2500;
// Ages grow, and a connection can be dead without a word.
const REGULAR = 30000;
// Before another try, and before what was missed is no longer said.
const AGAIN = 4000;
// An announcement is heard out before the next.
const HEARD = 3000;
// How long somebody types.
const TYPED = 200;

const form = document.getElementById("filters");
const heard = document.getElementById("heard");

// The state of the connection

const state = document.getElementById("state");
const stateText = document.getElementById("state-text");

function say(word, text) {
  // What is said again would be read out again.
  if (stateText.textContent !== text) {
    stateText.textContent = text;
  }
  state.dataset.state = word;
}

// Putting what is new in its place

function sameKeys(node) {
  const children = [...node.children];
  return children.length > 0 && children.every((child) => child.dataset.key);
}

function put(known, fresh) {
  if (known.className !== fresh.className) {
    known.className = fresh.className;
  }
  const [ours, theirs] = [[...known.children], [...fresh.children]];
  if (ours.length !== theirs.length || ours.length === 0) {
    fill(known, fresh);
    return;
  }
  ours.forEach((child, index) => {
    if (child.outerHTML !== theirs[index].outerHTML) {
      child.replaceWith(document.adoptNode(theirs[index]));
    }
  });
}

// Children that are known by their keys stay, so that focus and selection do.
function mergeByKey(known, fresh) {
  const wanted = new Set([...fresh.children].map((child) => child.dataset.key));
  const had = new Map();
  for (const child of [...known.children]) {
    if (wanted.has(child.dataset.key) && !had.has(child.dataset.key)) {
      had.set(child.dataset.key, child);
    } else {
      child.remove();
    }
  }
  const arrived = [];
  let at = known.firstElementChild;
  for (const child of [...fresh.children]) {
    let placed = had.get(child.dataset.key);
    had.delete(child.dataset.key);
    if (placed) {
      put(placed, child);
    } else {
      placed = document.adoptNode(child);
      arrived.push(placed);
    }
    if (placed === at) {
      at = at.nextElementSibling;
    } else {
      known.insertBefore(placed, at);
    }
  }
  return arrived;
}

function fill(known, fresh) {
  for (const details of fresh.querySelectorAll("details[data-keep]")) {
    details.open = [...known.querySelectorAll("details[data-keep]")].some(
      (ours) => ours.open && ours.dataset.keep === details.dataset.keep,
    );
  }
  if (known.innerHTML === fresh.innerHTML) {
    return;
  }
  const focused = known.contains(document.activeElement) ? document.activeElement.id : "";
  known.replaceChildren(...fresh.childNodes);
  if (focused) {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

let announced = 0;

function announce(arrived) {
  const now = Date.now();
  if (!heard || arrived.length === 0 || now - announced < HEARD) {
    return;
  }
  announced = now;
  // An alarm is not hidden by what came with it.
  const first = arrived.find((child) => child.classList.contains("alarm")) ?? arrived[0];
  const newest = first.textContent.trim().replace(/\s+/g, " ");
  heard.textContent = arrived.length > 1 ? `${newest}, and ${arrived.length - 1} more` : newest;
}

// Whether the rows that come were asked for: then they are no news.
let isMoved = false;

function apply(page) {
  for (const known of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(known.id);
    if (!fresh) {
      continue;
    }
    if (sameKeys(known) && sameKeys(fresh)) {
      const arrived = mergeByKey(known, fresh);
      if (!isMoved) {
        arrived.forEach((child) => (child.dataset.fresh = ""));
      }
      if (known.id === "event-list") {
        announce(arrived);
      }
    } else {
      fill(known, fresh);
    }
  }
  isMoved = false;
  document.title = page.title;
  for (const field of form?.elements ?? []) {
    const fresh = field.name && page.querySelector(`#filters [name="${CSS.escape(field.name)}"]`);
    if (fresh && field !== document.activeElement) {
      field.value = fresh.value;
    }
  }
}

// Fetching

let underWay = false;
let wanted = false;
let due = 0;
let settling = 0;
let last = 0;

async function refresh() {
  clearTimeout(due);
  due = 0;
  if (underWay) {
    wanted = true;
    return;
  }
  underWay = true;
  const asked = location.href;
  try {
    const answer = await fetch(asked, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) {
      throw new Error(`the agent answers ${answer.status}`);
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Somebody may have gone on to another part of the table meanwhile.
    if (asked === location.href) {
      apply(page);
    } else {
      wanted = true;
    }
    if (stream?.readyState === EventSource.OPEN && state.dataset.state !== "live") {
      say("live", "Live");
    } else if (stream?.readyState === EventSource.CLOSED && !document.hidden) {
      say("still", "Not live, fetched every few seconds");
    }
  } catch {
    say("lost", "Connection lost, trying again");
    setTimeout(soon, AGAIN);
  } finally {
    underWay = false;
    last = Date.now();
    if (wanted) {
      wanted = false;
      soon();
    }
  }
}

function soon() {
  if (!due) {
    due = setTimeout(refresh, Math.max(0, last + PAUSE - Date.now()));
  }
}

function happened() {
  soon();
  clearTimeout(settling);
  settling = setTimeout(soon, SETTLED);
}

// The stream

let stream = null;
let again = 0;

function connect() {
  clearTimeout(again);
  stream?.close();
  stream = new EventSource(document.body.dataset.stream);
  stream.onopen = () => {
    say("live", "Live");
    // What happened between the page and the stream.
    soon();
  };
  stream.onmessage = happened;
  stream.addEventListener("skipped", (message) => {
    const { count } = JSON.parse(message.data);
    say("live", `Live; ${count ?? "some"} events were missed, all is fetched anew`);
    setTimeout(() => state.dataset.state === "live" && say("live", "Live"), AGAIN);
    happened();
  });
  stream.onerror = () => {
    // A refusal is final for the browser, as where all places of the stream are taken: the page can be fetched all the same,
    // and if not, that is said.
    if (stream.readyState === EventSource.CLOSED) {
      again = setTimeout(connect, AGAIN);
      soon();
    } else {
      say("lost", "Connection lost, trying again");
    }
  };
}

// Whoever does not look needs no place in the stream: a browser has few connections to one server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(again);
    stream?.close();
  } else {
    connect();
  }
});

// Filters and orders, without leaving the page

function go(href, isNew) {
  if (href !== location.href) {
    history[isNew ? "pushState" : "replaceState"](null, "", href);
  }
  isMoved = true;
  refresh();
}

function asked() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value && !(name === "sort" && value === "verdict")) {
      query.append(name, value);
    }
  }
  const text = query.toString();
  return new URL(text ? `./?${text}` : "./", location.href).href;
}

let typed = 0;
form?.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => go(asked(), false), TYPED);
});
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typed);
  go(asked(), true);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-swap]");
  if (link && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    go(link.href, true);
    if (link.rel) {
      // Another page of the table begins at its top.
      document.getElementById("listeners").scrollIntoView();
    }
  }
});
addEventListener("popstate", () => {
  isMoved = true;
  refresh();
});

document.documentElement.classList.add("js");
setInterval(soon, REGULAR);
if (!document.hidden) {
  connect();
}
