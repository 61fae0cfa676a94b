// A strict Max: it runs a patcher's boxes and cords; what an object does not understand is an error.
'use strict';

const dgram = require('dgram');
const fs = require('fs');
const path = require('path');
const vm = require('vm');
const osc = require('./osc.js');

const BANG = ['bang'];
const atomsOf = (text) => text.split(/\s+/).filter(Boolean).map((word) => (isNaN(word) ? word : Number(word)));
const refuse = (box, atoms) => {
  throw new Error(`${box.text || box.maxclass} does not understand ${JSON.stringify(atoms)}`);
};
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const silent = (box) => ({ receive: (inlet, atoms) => refuse(box, atoms) });
const valueof = (box) => box.saved_attribute_attributes.valueof;

// What the objects of the patches do: (box, arguments, out(outlet, atoms), max) -> { receive, touch, close }.
const KINDS = {
  js: (box, [file], out, max) => script(box, file, out, max),
  prepend: (box, words, out) => ({
    receive: (inlet, atoms) => out(0, same(atoms, BANG) ? words : [...words, ...atoms]),
  }),
  route: (box, words, out) => ({
    receive(inlet, atoms) {
      const at = words.findIndex((word) => word === atoms[0]);
      if (at < 0) out(words.length, atoms);
      else out(at, atoms.length > 1 ? atoms.slice(1) : BANG);
    },
  }),
  t: (box, words, out) => ({
    receive() {
      words.forEach((word) => word === 'b' || refuse(box, word));
      for (let outlet = words.length - 1; outlet >= 0; outlet -= 1) out(outlet, BANG);
    },
  }),
  deferlow: (box, words, out) => ({ receive: (inlet, atoms) => setImmediate(() => out(0, atoms)) }),
  loadbang: (box, words, out) => ({ ...silent(box), load: () => out(0, BANG) }),
  'live.thisdevice': (box, words, out) => ({ ...silent(box), load: () => out(0, BANG) }),
  message: (box, words, out, max) => ({
    receive(inlet, atoms) {
      const filled = atomsOf(box.text).map((word) => (word === '$1' ? atoms[0] : word));
      if (filled[0] !== ';') out(0, filled);
      else max.report({ event: 'shown', what: filled.slice(1, 3).join(' '), value: filled.slice(3) });
    },
  }),
  udpsend: (box, words, out, max) => {
    const socket = dgram.createSocket('udp4').on('error', () => {});
    return {
      receive(inlet, atoms) {
        const bytes = osc.encode(atoms);
        max.report({ event: 'sent', address: atoms[0], arguments: atoms.slice(1) });
        socket.send(bytes, max.options.port, words[0]);
      },
      close: () => socket.close(),
    };
  },
  udpreceive: (box, words, out, max) => {
    let socket = null;
    return {
      receive(inlet, atoms) {
        if (atoms.length !== 2 || atoms[0] !== 'port') refuse(box, atoms);
        if (socket) socket.close();
        socket = dgram.createSocket('udp4');
        socket.on('error', (error) => max.report({ event: 'port', number: atoms[1], taken: error.code }));
        socket.on('message', (bytes) => setImmediate(() => max.guard(() => out(0, osc.decode(bytes)))));
        socket.bind(atoms[1], '127.0.0.1', () => max.report({ event: 'port', number: atoms[1], taken: '' }));
      },
      close: () => socket && socket.close(),
    };
  },
  'dspstate~': (box, words, out) => ({
    receive(inlet, atoms) {
      if (!same(atoms, BANG)) refuse(box, atoms);
      out(1, [48000]);
      out(0, [1]);
    },
  }),
  'buffer~': (box, words, out, max) => ({
    receive(inlet, [word, file]) {
      if (word !== 'replace' || !fs.existsSync(file)) refuse(box, [word, file]);
      max.report({ event: 'shown', what: 'buffer', value: [file] });
    },
  }),
  'play~': (box, words, out, max) => ({
    receive(inlet, atoms) {
      if (![0, 1].includes(atoms[0])) refuse(box, atoms);
      max.report({ event: 'shown', what: 'play', value: atoms });
    },
  }),
  'sfrecord~': (box, words, out, max) => {
    let file = '';
    return {
      receive(inlet, atoms) {
        if (atoms[0] === 'open' && atoms[2] === 'wave' && !fs.existsSync(atoms[1])) file = atoms[1];
        else if (atoms[0] === 0 && file) fs.copyFileSync(max.options.played, file), (file = '');
        else if (atoms[0] !== 1 || !file || !fs.existsSync(path.dirname(file))) refuse(box, atoms);
      },
    };
  },
  opendialog: (box, [kind], out, max) => ({
    receive: (inlet, atoms) => (same(atoms, BANG) ? out(0, [max.options.chosen[kind]]) : refuse(box, atoms)),
  }),
  conformpath: (box, words, out) => ({ receive: (inlet, atoms) => out(0, atoms) }),
  'plugin~': silent,
  'plugout~': silent,
  'dac~': silent,
  comment: (box, words, out, max) => ({
    receive(inlet, atoms) {
      if (atoms[0] !== 'set') refuse(box, atoms);
      max.report({ event: 'shown', what: box.varname, value: atoms.slice(1) });
    },
  }),
  panel: (box, words, out, max) => ({
    receive(inlet, atoms) {
      if (atoms[0] !== 'bgfillcolor' || atoms.length !== 5) refuse(box, atoms);
      max.report({ event: 'shown', what: 'colour', value: atoms.slice(1) });
    },
  }),
  slider: (box, words, out, max) => ({
    receive(inlet, atoms) {
      if (!(atoms[0] >= 0 && atoms[0] < box.size)) refuse(box, atoms);
      max.report({ event: 'shown', what: box.varname, value: atoms });
    },
  }),
  textedit: (box, words, out) => {
    let text = '';
    return {
      receive: (inlet, atoms) => (same(atoms, BANG) ? out(0, text ? ['text', text] : ['text']) : refuse(box, atoms)),
      touch: (value) => (text = value),
    };
  },
  'live.numbox': (box, words, out) => ({
    ...silent(box),
    load: () => out(0, valueof(box).parameter_initial),
    touch(value) {
      const { parameter_mmin: low, parameter_mmax: high } = valueof(box);
      out(0, [Math.min(Math.max(value, low), high)]);
    },
  }),
  'live.menu': (box, words, out) => {
    const items = valueof(box).parameter_enum;
    const choose = (at) => {
      if (!(at in items)) throw new Error(`${box.varname} has no such item`);
      out(1, [items[at]]);
      out(0, [at]);
    };
    return {
      ...silent(box),
      load: () => choose(valueof(box).parameter_initial[0]),
      touch: (value) => choose(items.indexOf(value)),
    };
  },
  'live.text': (box, words, out, max) => ({
    ...silent(box),
    touch(value) {
      if (box.mode) out(0, [value]);
      else if (max.options.buttons === 'numbers') out(0, [1]), out(0, [0]);
      else out(0, BANG);
    },
  }),
};

function script(box, file, out, max) {
  const tasks = new Set();
  class Task {
    constructor(callback, self, ...given) {
      this.run = () => max.guard(() => callback.apply(self, given));
      this.interval = 500;
    }

    schedule(ms) {
      this.cancel();
      tasks.add((this.timer = setTimeout(this.run, ms)));
    }

    repeat() {
      this.cancel();
      tasks.add((this.timer = setInterval(this.run, this.interval)));
    }

    cancel() {
      clearTimeout(this.timer);
      clearInterval(this.timer);
    }
  }
  const draws = [...(max.options.draws || [])];
  const context = vm.createContext({
    Task,
    post: (text) => max.report({ event: 'posted', text }),
    arrayfromargs: (given) => Array.from(given),
    outlet(number, atoms) {
      if (!(number < box.numoutlets)) throw new Error(`${file} has no outlet ${number}`);
      if (!Array.isArray(atoms) || atoms.some((atom) => typeof atom !== 'string' && !Number.isFinite(atom))) {
        throw new Error(`${file} sends ${JSON.stringify(atoms)}`);
      }
      out(number, [...atoms]);
    },
    autowatch: 1, inlets: 0, outlets: 0, messagename: '',
    ...(max.live ? { LiveAPI: max.live.api() } : {}),
  });
  context.drawn = () => (draws.length ? draws.shift() : Math.random());
  vm.runInContext('Math.random = drawn; delete this.drawn;', context);
  const before = new Set(Object.keys(context));
  vm.runInContext(fs.readFileSync(path.join(max.folder, file), 'utf8'), context, { filename: file });
  if (context.inlets !== box.numinlets || context.outlets !== box.numoutlets) throw new Error(`${file}: inlets, outlets`);
  return {
    receive(inlet, atoms) {
      const [name, ...rest] = atoms;
      if (typeof name !== 'string') refuse(box, atoms);
      const own = !before.has(name) && typeof context[name] === 'function';
      if (!own && typeof context.anything !== 'function') refuse(box, atoms);
      context.messagename = name;
      (own ? context[name] : context.anything).apply(context, rest);
    },
    close() {
      context.notifydeleted();
      tasks.forEach((timer) => clearTimeout(timer));
    },
  };
}

class Max {
  constructor(patcher, folder, options, report, live) {
    Object.assign(this, { folder, options, report, live, objects: new Map(), cords: new Map() });
    for (const { patchline } of patcher.lines) this.cord(patchline, patcher);
    for (const { box } of patcher.boxes) this.objects.set(box.id, { box, ...this.create(box) });
  }

  cord({ source: [from, outlet], destination: [to, inlet] }, patcher) {
    const boxes = Object.fromEntries(patcher.boxes.map(({ box }) => [box.id, box]));
    if (!(outlet < boxes[from].numoutlets) || !(inlet < boxes[to].numinlets)) throw new Error(`cord ${from} ${to}`);
    const key = `${from} ${outlet}`;
    this.cords.set(key, [...(this.cords.get(key) || []), [to, inlet]]);
  }

  create(box) {
    const [name, ...words] = box.maxclass === 'newobj' ? atomsOf(box.text) : [box.maxclass];
    if (!(name in KINDS)) throw new Error(`no such object: ${name}`);
    const out = (outlet, atoms) => this.send(box.id, outlet, atoms);
    return KINDS[name](box, words, out, this);
  }

  send(from, outlet, atoms) {
    for (const [to, inlet] of this.cords.get(`${from} ${outlet}`) || []) this.objects.get(to).receive(inlet, atoms);
  }

  load() {
    const loading = [...this.objects.values()].filter((one) => one.load);
    const isLast = (one) => one.box.maxclass === 'newobj'; // the parameters' values come before live.thisdevice bangs
    loading.sort((a, b) => isLast(a) - isLast(b)).forEach((one) => one.load());
  }

  touch(name, value) {
    const found = [...this.objects.values()].filter((one) => one.touch && one.box.varname === name);
    if (found.length !== 1) throw new Error(`no control ${name}`);
    found[0].touch(value);
  }

  guard(run) {
    try {
      run();
    } catch (error) {
      this.report({ event: 'error', text: String(error.stack) });
    }
  }

  close() {
    for (const one of this.objects.values()) if (one.close) one.close();
  }
}

module.exports = { Max };
