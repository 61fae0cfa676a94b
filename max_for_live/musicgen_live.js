// What Live knows and does, for Max's [js] inside a Max for Live device.
//
// In: start, generate, fill, record, melody, place, stem (from the client's last outlet).
// Out: 0 to the client, 1 to the display, 2 to [sfrecord~] and the preview.
// Live forbids changes inside a notification and calls an observer back while it is being made: callbacks only take
// note, and a Task does the rest. ES5, as Max's js wants it.
autowatch = 0;
inlets = 1;
outlets = 3;

var POLL_MS = 1000;
var OBSERVED = ["tempo", "signature_numerator", "signature_denominator", "is_playing", "loop", "loop_start", "loop_length"];
var CLIMB = 16; // racks in racks, at most
var LEAST_BEFORE_S = 0.5; // what has to stand before a section that is made anew
var SELECTED = "live_set view detail_clip";

var values = {};
var observers = [];
var song = null;
var soon = null;
var poll = null;
var chooser = null;
var project = null; // folder of the set; "" while it is unsaved
var melodyFrom = "none";
var placeIn = "slot";
var recording = null; // { path, start, end }; start and end in seconds
var running = null; // the recording under way: { path, beat }
var waiting = []; // stems to be placed
var placer = null;

function start() {
  if (song) {
    return;
  }
  song = new LiveAPI(null, "live_set");
  soon = new Task(tell, this);
  placer = new Task(placeAll, this);
  chooser = new Task(choose, this);
  OBSERVED.forEach(function (property) {
    observe("live_set", property, function (value) {
      values[property] = Number(value);
      soon.schedule(1);
    });
  });
  observe("live_set view", "detail_clip", function () {
    chooser.schedule(1);
  });
  poll = new Task(lookForProject, this);
  poll.interval = POLL_MS;
  poll.repeat();
  lookForProject();
}

function observe(path, property, note) {
  var observer = new LiveAPI(function (said) {
    if (said[0] === property) {
      note(said[1]);
    }
  }, path);
  observer.property = property;
  observers.push(observer);
}

function notifydeleted() {
  [soon, poll, placer, chooser].forEach(function (task) {
    if (task) {
      task.cancel();
    }
  });
}

function melody(source) {
  melodyFrom = String(source);
}

function place(where) {
  placeIn = String(where);
}

// The session

function tell() {
  outlet(0, ["bpm", values.tempo]);
  outlet(0, ["signature", values.signature_numerator + "/" + values.signature_denominator]);
  if (values.is_playing !== values.told) {
    values.told = values.is_playing;
    outlet(0, ["beat", Number(get(song, "current_song_time"))]);
    outlet(0, ["playing", values.is_playing]);
  }
  outlet(0, ["loop_beats", values.loop ? values.loop_length : 0]);
}

// Song.file_path can't be observed.
function lookForProject() {
  var folder = folderOf(get(song, "file_path"));
  if (folder !== project) {
    project = folder;
    outlet(0, ["project", project]);
    outlet(1, ["text", project ? "" : "save the set first: stems go to its folder"]);
  }
}

function folderOf(path) {
  return path.replace(/[\/\\][^\/\\]*$/, "");
}

// What is asked for

function generate(pressed) {
  if (pressed === 0) {
    return;
  }
  lookForProject();
  var source = { none: noMelody, clip: clipMelody, recording: recordedMelody }[melodyFrom]();
  if (source.problem) {
    outlet(1, ["text", source.problem]);
    return;
  }
  outlet(0, ["melody"].concat(source.melody));
  outlet(0, ["generate"]);
}

// Has what lies in the selected clip's loop made anew, the rest of its file around it.
function fill(pressed) {
  if (pressed === 0) {
    return;
  }
  lookForProject();
  var clip = selectedClip();
  var problem = clip.problem || (clip.start < LEAST_BEFORE_S ? "begin the loop half a second or more into the clip" : "");
  if (problem) {
    outlet(1, ["text", problem]);
  } else {
    outlet(0, ["fill", clip.path, clip.start, clip.end]);
  }
}

// A clip of this track with a stem in it becomes the take that is shown, heard and moved.
function choose() {
  var clip = selectedClip();
  if (!clip.problem && /[\/\\]MusicGen[\/\\][^\/\\]+$/.test(clip.path) && onOwnTrack()) {
    outlet(0, ["take", clip.path]);
    outlet(2, ["preview", "replace", clip.path]);
  }
}

function onOwnTrack() {
  var own = ownTrack();
  var track = trackAbove(SELECTED);
  return own && track && own.api.id === track.api.id;
}

function noMelody() {
  return { melody: [] };
}

function recordedMelody() {
  if (!recording) {
    return { problem: "record a melody first, or choose another source" };
  }
  return { melody: recording.end > recording.start ? [recording.path, recording.start, recording.end] : [recording.path] };
}

function clipMelody() {
  var clip = selectedClip();
  return clip.problem ? clip : { melody: [clip.path].concat(clip.end > clip.start ? [clip.start, clip.end] : []) };
}

// The file of the selected audio clip and its loop there, in seconds, or what is the problem.
function selectedClip() {
  var clip = new LiveAPI(null, SELECTED);
  if (!exists(clip) || !Number(get(clip, "is_audio_clip"))) {
    return { problem: "select an audio clip first" };
  }
  var path = get(clip, "file_path");
  if (!path) {
    return { problem: "that clip has no file yet: save the set, or consolidate the clip" };
  }
  var start = Number(get(clip, "loop_start"));
  var end = Number(get(clip, "loop_end"));
  if (Number(get(clip, "warping"))) {
    var markers = warpMarkers(clip);
    start = secondsAt(start, markers, values.tempo);
    end = secondsAt(end, markers, values.tempo);
  }
  return { path: path, start: Math.max(start, 0), end: Math.min(end, lengthOf(clip)) };
}

// Live gives a dictionary as JSON; the last marker is a hidden one that only sets the tempo behind the others.
function warpMarkers(clip) {
  var markers = [];
  if (has(clip, "property", "warp_markers")) {
    try {
      markers = JSON.parse(get(clip, "warp_markers")).warp_markers || [];
    } catch (error) {
      post("musicgen-bridge: warp markers can't be read: " + error + "\n");
    }
  }
  return markers;
}

// Where a beat of a warped clip lies in its file, in seconds: linear between markers, and beyond them as the nearest two.
function secondsAt(beat, markers, tempo) {
  if (markers.length < 2) {
    return (beat * 60) / tempo;
  }
  var next = 1;
  while (next < markers.length - 1 && markers[next].beat_time < beat) {
    next += 1;
  }
  var from = markers[next - 1];
  var to = markers[next];
  return from.sample_time + ((beat - from.beat_time) * (to.sample_time - from.sample_time)) / (to.beat_time - from.beat_time);
}

function lengthOf(clip) {
  if (!has(clip, "property", "sample_length") || !has(clip, "property", "sample_rate")) {
    return Infinity;
  }
  return Number(get(clip, "sample_length")) / Number(get(clip, "sample_rate"));
}

// Recording

function record(on) {
  if (on && !running) {
    if (!project) {
      outlet(1, ["text", "save the set first: recordings go to its folder"]);
      return;
    }
    running = { path: project + separator() + "MusicGen melody " + stamp(new Date()) + ".wav", beat: beatIfPlaying() };
    outlet(2, ["record", "open", running.path, "wave"]);
    outlet(2, ["record", 1]);
    outlet(1, ["text", "recording"]);
  } else if (!on && running) {
    outlet(2, ["record", 0]);
    recording = wholeBars(running.beat, beatIfPlaying(), barBeats(), values.tempo);
    recording.path = running.path;
    running = null;
    outlet(1, ["text", "recorded: " + recording.path]);
  }
}

function beatIfPlaying() {
  return values.is_playing ? Number(get(song, "current_song_time")) : -1;
}

function barBeats() {
  return (values.signature_numerator * 4) / values.signature_denominator;
}

// The whole bars inside a recording from one beat to another, in seconds into it; all of it where there are none.
function wholeBars(from, to, bar, tempo) {
  var first = Math.ceil(from / bar - 1e-6) * bar;
  var last = Math.floor(to / bar + 1e-6) * bar;
  if (from < 0 || to < 0 || last <= first) {
    return { start: 0, end: 0 };
  }
  return { start: ((first - from) * 60) / tempo, end: ((last - from) * 60) / tempo };
}

function stamp(date) {
  function two(value) {
    return (value < 10 ? "0" : "") + value;
  }
  var day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return day + " " + [two(date.getHours()), two(date.getMinutes()), two(date.getSeconds())].join("");
}

function separator() {
  return project.indexOf("\\") >= 0 ? "\\" : "/";
}

// Placing

function stem(path, index, total, frames, rate, bpm) {
  var beats = Math.round((frames / rate / 60) * bpm * 1000) / 1000; // a stem's length is rounded to a frame
  waiting.push({ path: String(path), index: index, beats: beats });
  outlet(2, ["preview", "replace", String(path)]);
  placer.schedule(1);
}

function placeAll() {
  while (waiting.length) {
    var one = waiting.shift();
    outlet(1, ["text", { slot: inSlot, arrangement: inArrangement, preview: onlyHeard }[placeIn](one)]);
  }
}

function inSlot(one) {
  var track = ownTrack();
  var problem = unfit(track);
  if (problem) {
    return byHand(problem);
  }
  var count = track.api.getcount("clip_slots");
  for (var at = 0; at < count; at += 1) {
    var slot = new LiveAPI(null, track.path + " clip_slots " + at);
    if (!Number(get(slot, "has_clip"))) {
      if (!has(slot, "function", "create_audio_clip")) {
        return byHand("this version of Live can't place clips");
      }
      slot.call("create_audio_clip", one.path);
      return Number(get(slot, "has_clip")) ? "placed in slot " + (at + 1) : byHand("Live refused the clip");
    }
  }
  return byHand("no empty slot on this track");
}

// Several stems lie one behind the other: a track holds one clip at a time.
function inArrangement(one) {
  var track = ownTrack();
  var problem = unfit(track);
  if (problem) {
    return byHand(problem);
  }
  if (!has(track.api, "function", "create_audio_clip")) {
    return byHand("this version of Live can't place clips in the arrangement");
  }
  var beat = values.loop_start + one.index * one.beats;
  var before = track.api.getcount("arrangement_clips");
  track.api.call("create_audio_clip", one.path, beat);
  return track.api.getcount("arrangement_clips") > before ? "placed at beat " + beat : byHand("Live refused the clip");
}

function onlyHeard() {
  return "ready: press Play, or drag the file";
}

function byHand(why) {
  return why + ": press Play to hear it, and drag the file from the MusicGen folder";
}

function unfit(track) {
  if (!track || !Number(get(track.api, "has_audio_input"))) {
    return "this is no audio track";
  }
  return Number(get(track.api, "is_frozen")) ? "the track is frozen" : "";
}

function ownTrack() {
  return trackAbove("this_device");
}

// The track that a device or a clip lies on, through the racks around it.
function trackAbove(path) {
  for (var level = 0; level < CLIMB; level += 1) {
    path += " canonical_parent";
    var api = new LiveAPI(null, path);
    if (!exists(api)) {
      return null;
    }
    if (api.type === "Track") {
      return { api: api, path: path };
    }
  }
  return null;
}

// Live's objects

function exists(api) {
  return Number(api.id) !== 0;
}

// info lists what this version of Live has: "property warping bool", "function create_audio_clip".
function has(api, kind, name) {
  return (" " + String(api.info).replace(/\s+/g, " ") + " ").indexOf(" " + kind + " " + name + " ") >= 0;
}

// A property as text; Live splits at blanks in some versions and puts quotes around in others.
function get(api, property) {
  var value = api.get(property);
  return String(value && value.join ? value.join(" ") : value).replace(/^"(.*)"$/, "$1");
}
