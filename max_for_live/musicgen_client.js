// The client of the daemon for Max's [js]: it speaks the OSC protocol (docs/protocol.md) and knows nothing of Live.
//
// In: what the controls and the session say (WORDS, NUMBERS, SESSION), start, generate, fill, take, nudge, cancel, show, and
// the daemon's replies.
// Out: 0 to [udpsend], 1 to [udpreceive], 2 to the display, 3 each finished stem once.
// ES5, as Max's js wants it.
autowatch = 0;
inlets = 1;
outlets = 4;

var TICK_MS = 100;
var SILENCE_MS = 3500; // no heartbeat for so long: the daemon is gone
var HELLO_MS = 1000;
var PING_MS = 10000; // keeps the lease of 30 s
var FIRST_MS = 200;
var LONGEST_MS = 2000; // a request is sent again after 200, 400, 800 ms … of silence
var PORTS = { lowest: 49152, count: 16384 }; // private ports, IANA
var LAMPS = { ready: "ready", busy: "busy", loading: "loading", degraded: "loading" };
var WORDS = ["prompt", "parts", "preset", "melody", "melody_part"];
var NUMBERS = ["bars", "loop_beats", "variations", "best_of", "mix", "seed", "guidance"];
var SESSION = ["bpm", "signature", "sample_rate", "playing", "beat", "name", "project"];

var controls = {};
var session = {};
// The folder goes by itself, so that one that is refused keeps nothing else back.
var told = [
  { id: "session-", keys: SESSION.slice(0, -1), fresh: true, sent: 0, number: 0 },
  { id: "project-", keys: ["project"], fresh: true, sent: 0, number: 0 }
];
var jobs = []; // open ones: { id, address, pairs, sent, pause, stems, cancelled }
var client = "";
var numbers = 0;
var connected = false;
var instance = "";
var heard = 0;
var spoken = 0;
var greeted = 0;
var greetings = 0;
var port = 0; // where the daemon's replies are heard
var current = ""; // path of the take that is shown: the latest stem, or the one that was chosen since
var nudges = still(); // by how much it is still to be moved, once the cut that is under way is there
var clock = null;

function start() {
  if (clock) {
    return;
  }
  client = "max-" + Math.floor(Math.random() * 0x7fffffff).toString(16);
  display("lamp", "gone");
  clock = new Task(tick, this);
  clock.interval = TICK_MS;
  clock.repeat();
}

function notifydeleted() {
  if (clock) {
    clock.cancel();
  }
}

function anything() {
  var given = arrayfromargs(arguments);
  if (messagename.charAt(0) === "/") {
    hear(messagename, given);
  } else if (WORDS.concat(NUMBERS).indexOf(messagename) >= 0) {
    controls[messagename] = given;
  } else if (SESSION.indexOf(messagename) >= 0) {
    note(messagename, given[0]);
  } else {
    post("musicgen-bridge: no message " + messagename + "\n");
  }
}

// A button may give 1 when pressed and 0 when released, or a bang.
function generate(pressed) {
  if (pressed !== 0) {
    ask(lengthPairs().concat(takePairs()));
  }
}

// Makes a section of a recording anew, in seconds.
function fill(path, start, end) {
  ask(["fill", path, "fill_start", start, "fill_end", end]);
}

// What the words, the numbers for all, and the session add to the pairs of a request.
function ask(pairs) {
  var preset = text("preset");
  var slot = preset !== "" && preset !== "none" ? ["slot", preset] : [];
  if (session.project) {
    submit(slot.length ? "/musicgen/trigger" : "/musicgen/render", slot.concat(wordPairs(), pairs));
  } else {
    display("text", "no project folder: save the Live set, or choose a folder");
  }
}

// Shows another take, which is what is moved from now on.
function take(path) {
  current = path;
  display("file", current);
}

// Moves what the current take plays to the left: it is cut anew. What is asked for meanwhile goes on from that cut.
function nudge(beats, ms) {
  nudges.beats += beats;
  nudges.ms += ms;
  cut();
}

function cut() {
  var moved = pairsIf([
    ["shift_beats", nudges.beats, nudges.beats],
    ["shift_ms", nudges.ms, nudges.ms]
  ]);
  if (!moved.length || jobs.some(cuts)) {
    return;
  }
  nudges = still();
  if (!current) {
    display("text", "there is no take yet: generate one, or select its clip");
  } else {
    submit("/musicgen/recut", ["take", current].concat(moved));
  }
}

function cuts(job) {
  return job.address === "/musicgen/recut";
}

function still() {
  return { beats: 0, ms: 0 };
}

function cancel(pressed) {
  if (pressed === 0) {
    return;
  }
  nudges = still();
  jobs.forEach(function (job) {
    job.cancelled = true;
    job.pause = FIRST_MS;
    if (connected) {
      push(job, now());
    }
  });
}

function show(pressed) {
  if (pressed === 0) {
    return;
  }
  var folder = current ? current.replace(/[\/\\][^\/\\]*$/, "") : session.project;
  if (folder) {
    folder = folder.replace(/\\/g, "/");
    display("show", encodeURI("file://" + (folder.charAt(0) === "/" ? "" : "/") + folder));
  }
}

// The session

function note(key, value) {
  if (session[key] === value) {
    return;
  }
  session[key] = value;
  told.forEach(function (group) {
    if (group.keys.indexOf(key) >= 0) {
      group.fresh = true;
      group.sent = 0;
    }
  });
}

function tell(group, at) {
  var pairs = pairsOf(group.keys);
  if (group.fresh && pairs.length && at - group.sent >= HELLO_MS) {
    group.sent = at;
    group.number += 1;
    send("/musicgen/session", group.id + group.number, pairs);
  }
}

function pairsOf(keys) {
  var pairs = [];
  keys.forEach(function (key) {
    if (session[key] !== undefined && session[key] !== "") {
      pairs.push(key, session[key]);
    }
  });
  return pairs;
}

function answered(id) {
  var ours = false;
  told.forEach(function (group) {
    ours = ours || id.indexOf(group.id) === 0;
    if (id === group.id + group.number) {
      group.fresh = false;
    }
  });
  return ours;
}

// Jobs

// The key and value of each [key, value, used] that is used, one behind the other.
function pairsIf(list) {
  return list.reduce(function (pairs, one) {
    return one[2] ? pairs.concat(one.slice(0, 2)) : pairs;
  }, []);
}

// The render itself names tempo, signature, rate and folder: the daemon's session belongs to all its clients.
function wordPairs() {
  return pairsOf(["bpm", "signature", "sample_rate", "project"]).concat(
    pairsIf([
      ["prompt", text("prompt"), text("prompt")],
      ["variations", number("variations"), number("variations") > 1],
      ["seed", number("seed"), number("seed") > 0],
      ["guidance", number("guidance"), number("guidance") >= 1]
    ])
  );
}

function lengthPairs() {
  var bars = number("bars");
  return pairsIf([
    ["bars", bars, bars > 0],
    ["beats", number("loop_beats"), bars <= 0 && number("loop_beats") > 0]
  ]);
}

function takePairs() {
  var melody = controls.melody || [];
  var parts = text("parts");
  return pairsIf([
    ["parts", parts, parts],
    ["mix", 1, number("mix") && parts.indexOf(";") >= 0],
    ["best_of", number("best_of"), number("best_of") > 1],
    ["melody", melody[0], melody.length > 0],
    ["melody_start", melody[1], melody.length > 2],
    ["melody_end", melody[2], melody.length > 2],
    ["melody_part", text("melody_part"), melody.length > 0 && text("melody_part")]
  ]);
}

function submit(address, pairs) {
  if (!connected) {
    display("text", "the daemon is not there: run musicgen-bridge start");
    return;
  }
  var job = { id: "take-" + ++numbers, address: address, pairs: pairs, pause: FIRST_MS, stems: {}, cancelled: false };
  jobs.push(job);
  display("progress", 0);
  display("text", "asked");
  push(job, now());
}

// Sends a job again: the daemon answers how it stands, and starts nothing twice.
function push(job, at) {
  job.sent = at;
  if (job.cancelled) {
    send("/musicgen/cancel", "cancel-" + job.id, ["target", job.id]);
  } else {
    send(job.address, job.id, job.pairs);
  }
}

function find(id) {
  return jobs.filter(function (job) {
    return job.id === id;
  })[0];
}

function forget(job) {
  jobs = jobs.filter(function (other) {
    return other !== job;
  });
}

// What the daemon says

function hear(address, given) {
  var id = String(given[0]);
  var job = find(id);
  heard = now();
  if (address === "/musicgen/heartbeat") {
    pulse(id, String(given[2]));
  } else if (address === "/musicgen/hello.reply") {
    welcome(given);
  } else if (address === "/musicgen/bye") {
    lose();
  } else if (address === "/musicgen/session.reply") {
    answered(id);
  } else if (address === "/musicgen/fail") {
    fail(id, job, given);
  } else if (job) {
    job.sent = heard;
    job.pause = job.cancelled ? FIRST_MS : LONGEST_MS;
    follow(address, job, given);
  }
}

function pulse(from, state) {
  if (!connected) {
    return;
  }
  if (from !== instance) {
    lose();
    return;
  }
  display("lamp", LAMPS[state] || "gone");
}

function welcome(given) {
  var pairs = {};
  for (var at = 1; at + 1 < given.length; at += 2) {
    pairs[given[at]] = given[at + 1];
  }
  connected = true;
  greetings = 0;
  instance = String(pairs.instance);
  told.forEach(function (group) {
    group.fresh = true;
    group.sent = 0;
  });
  jobs.forEach(function (job) {
    push(job, heard);
  });
}

// Gone, or another instance: say hello and ask again for what is open.
function lose() {
  connected = false;
  greeted = 0;
  display("lamp", "gone");
}

function follow(address, job, given) {
  if (address === "/musicgen/queued") {
    display("text", given[2] > 0 ? "queued behind " + given[2] : "queued");
  } else if (address === "/musicgen/progress") {
    display("progress", Math.round(given[2] * 100));
    display("text", given[4] + (given[3] >= 0 ? ", " + Math.ceil(given[3]) + " s to go" : ""));
  } else if (address === "/musicgen/note") {
    post("musicgen-bridge: " + given[2] + "\n"); // progress soon stands in its place on the panel
    display("text", String(given[2]));
  } else if (address === "/musicgen/done") {
    finish(job, given);
  }
}

function finish(job, given) {
  var index = given[2];
  var total = given[3];
  if (job.stems[index]) {
    return;
  }
  job.stems[index] = true;
  take(String(given[4]));
  outlet(3, ["stem", current, index, total, given[5], given[6], given[7]]);
  if (Object.keys(job.stems).length >= total) {
    forget(job);
    display("progress", 100);
    display("text", total > 1 ? "done: " + total + " stems" : "done");
    cut();
  }
}

function fail(id, job, given) {
  var code = String(given[2]);
  var gone = id.indexOf("cancel-") === 0 && code === "E_ARGS"; // there was no such job any more
  if (job && (code === "E_BUSY" || code === "E_LOADING")) {
    job.sent = heard;
    job.pause = Math.max(given[4] || 0, LONGEST_MS);
    display("text", "waiting: " + given[3]);
    return;
  }
  answered(id);
  if (gone) {
    forget(find(id.slice("cancel-".length)));
  }
  if (job) {
    forget(job);
    nudges = cuts(job) ? still() : nudges;
    display("progress", 0);
  }
  display("text", code === "E_CANCELLED" || gone ? "cancelled" : String(given[3]));
}

// The clock

function tick() {
  var at = now();
  if (connected && at - heard > SILENCE_MS) {
    lose();
  }
  if (!connected) {
    if (at - greeted >= HELLO_MS) {
      greet(at);
    }
    return;
  }
  told.forEach(function (group) {
    tell(group, at);
  });
  jobs.forEach(function (job) {
    if (at - job.sent >= job.pause) {
      job.pause = Math.min(job.pause * 2, LONGEST_MS);
      push(job, at);
    }
  });
  if (at - spoken >= PING_MS) {
    send("/musicgen/ping", "ping", []);
  }
}

// Every third hello that stays unanswered tries another port: the one before may belong to another program.
function greet(at) {
  greeted = at;
  if (greetings % 3 === 0) {
    port = PORTS.lowest + Math.floor(Math.random() * PORTS.count);
    outlet(1, ["port", port]);
  }
  greetings += 1;
  send("/musicgen/hello", "hello", ["proto", 1, "client", client, "reply_port", port]);
}

function send(address, id, pairs) {
  spoken = now();
  outlet(0, [address, id].concat(pairs));
}

function display(what, value) {
  outlet(2, [what, value]);
}

function now() {
  return new Date().getTime();
}

function text(name) {
  return (controls[name] || []).join(" ").replace(/[\r\n\t]+/g, " ").replace(/^ +| +$/g, "");
}

function number(name) {
  var value = Number((controls[name] || [0])[0]);
  return isFinite(value) ? value : 0;
}
