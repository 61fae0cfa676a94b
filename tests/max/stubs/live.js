// A strict Live: what its object model does not have is an error, and so is a change inside a notification.
// After the Live Object Model, https://docs.cycling74.com/apiref/lom/
'use strict';

const SCHEMA = {
  Song: {
    properties: [
      'tempo', 'signature_numerator', 'signature_denominator', 'is_playing', 'loop', 'loop_start', 'loop_length',
      'current_song_time', 'file_path', 'name',
    ],
    observable: [
      'tempo', 'signature_numerator', 'signature_denominator', 'is_playing', 'loop', 'loop_start', 'loop_length',
      'current_song_time',
    ],
    children: ['tracks', 'view', 'scenes', 'return_tracks', 'master_track'],
  },
  'Song.View': { properties: [], observable: ['detail_clip'], children: ['detail_clip', 'selected_track'] },
  Track: {
    properties: ['has_audio_input', 'has_midi_input', 'is_frozen', 'is_foldable', 'name'],
    observable: ['name'],
    children: ['canonical_parent', 'clip_slots', 'arrangement_clips', 'devices'],
    functions: ['create_audio_clip', 'stop_all_clips'],
  },
  Chain: { properties: ['name', 'has_audio_input'], observable: [], children: ['canonical_parent', 'devices'] },
  RackDevice: { properties: ['name'], observable: [], children: ['canonical_parent', 'chains'] },
  MaxDevice: { properties: ['name'], observable: [], children: ['canonical_parent', 'parameters'] },
  ClipSlot: {
    properties: ['has_clip', 'has_stop_button', 'is_group_slot'],
    observable: ['has_clip'],
    children: ['canonical_parent', 'clip'],
    functions: ['create_audio_clip', 'create_clip', 'delete_clip', 'fire'],
  },
  Clip: {
    properties: [
      'is_audio_clip', 'file_path', 'loop_start', 'loop_end', 'looping', 'warping', 'warp_markers', 'sample_length',
      'sample_rate', 'name',
    ],
    observable: ['loop_start', 'loop_end', 'warping'],
    children: ['canonical_parent', 'view'],
  },
};

class Live {
  // `missing` names what this version lacks: "ClipSlot.create_audio_clip".
  constructor(missing = []) {
    this.missing = new Set(missing);
    this.objects = [null];
    this.calls = [];
    this.notifying = 0;
    this.observers = [];
  }

  make(type, properties = {}, children = {}, functions = {}) {
    const made = { id: this.objects.length, type, properties, children, functions, parent: null };
    this.objects.push(made);
    for (const child of Object.values(children).flat()) if (child && !child.parent) child.parent = made;
    return made;
  }

  has(object, kind, name) {
    return (SCHEMA[object.type][kind] || []).includes(name) && !this.missing.has(`${object.type}.${name}`);
  }

  find(path) {
    const words = path.split(' ');
    let object = { live_set: this.song, this_device: this.device }[words.shift()];
    if (!object) throw new Error(`no such path: ${path}`);
    while (words.length) {
      const word = words.shift();
      if (!object) throw new Error(`a path through nothing: ${path}`);
      if (!this.has(object, 'children', word)) throw new Error(`${object.type} has no child ${word}: ${path}`);
      let next = word === 'canonical_parent' ? object.parent : object.children[word];
      if (Array.isArray(next)) next = next[Number(words.shift())];
      object = next || null;
    }
    return object;
  }

  info(object) {
    const lines = [`id ${object.id}`, `type ${object.type}`];
    for (const name of SCHEMA[object.type].properties) {
      if (this.has(object, 'properties', name)) lines.push(`property ${name} any`);
    }
    for (const name of SCHEMA[object.type].functions || []) {
      if (this.has(object, 'functions', name)) lines.push(`function ${name}`);
    }
    return [...lines, 'done'].join('\n');
  }

  notify(callback, said) {
    this.notifying += 1;
    try {
      callback(said);
    } finally {
      this.notifying -= 1;
    }
  }

  change(object, property, value) {
    object.properties[property] = value;
    this.changed(object, property);
  }

  changed(object, property) {
    for (const one of this.observers.filter((one) => one.object === object && one.property === property)) {
      this.notify(one.callback, this.said(object, property));
    }
  }

  // What an observer is told: a property's value, or the id of a child.
  said(object, name) {
    const child = object.children[name];
    return child === undefined ? [name, object.properties[name]] : [name, 'id', child ? child.id : 0];
  }

  // A clip in the one slot of a track, or in a slot of the device's own, is clicked.
  select(properties, elsewhere) {
    const clip = this.make('Clip', properties);
    const slot = this.make('ClipSlot', { has_clip: 1 }, { clip });
    slot.parent = elsewhere ? this.make('Track', {}, { clip_slots: [slot] }) : this.song.children.tracks[0];
    this.song.children.view.children.detail_clip = clip;
    this.changed(this.song.children.view, 'detail_clip');
  }

  api() {
    const live = this;
    return class LiveAPI {
      #callback;
      #object;
      #property = '';

      constructor(callback, path) {
        if (typeof path !== 'string') throw new Error('LiveAPI(callback, path) wants a path');
        this.#callback = callback;
        this.#object = live.find(path);
        if (callback) live.notify(callback, ['id', Number(this.id)]);
      }

      get id() {
        return String(this.#object ? this.#object.id : 0);
      }

      get type() {
        return this.#live().type;
      }

      get info() {
        return this.#object ? live.info(this.#object) : 'No object';
      }

      get property() {
        return this.#property;
      }

      set property(name) {
        const object = this.#live();
        if (!live.has(object, 'observable', name)) throw new Error(`${object.type}.${name} can't be observed`);
        if (!this.#callback) throw new Error('an observer without a callback');
        this.#property = name;
        live.observers.push({ object, property: name, callback: this.#callback });
        live.notify(this.#callback, live.said(object, name));
      }

      get(name) {
        const object = this.#live();
        if (!live.has(object, 'properties', name)) throw new Error(`${object.type} has no property ${name}`);
        return [object.properties[name]];
      }

      getcount(name) {
        const object = this.#live();
        if (!live.has(object, 'children', name)) throw new Error(`${object.type} has no child ${name}`);
        return object.children[name].length;
      }

      call(name, ...given) {
        const object = this.#live();
        if (live.notifying) throw new Error(`${name}: changes cannot be triggered by notifications`);
        if (!live.has(object, 'functions', name)) throw new Error(`${object.type} has no function ${name}`);
        object.functions[name](...given);
      }

      #live() {
        if (!this.#object) throw new Error('no object, id 0');
        return this.#object;
      }
    };
  }
}

// A set as the options say: one audio track that holds the device, `slots` of 1 (full) and 0.
function world(options, report) {
  const live = new Live(options.missing);
  const placed = (where, given) => report({ event: 'placed', where, given });
  const slots = (options.slots || [1, 0, 0]).map((full, index) => {
    const slot = live.make('ClipSlot', { has_clip: full }, { clip: null }, {
      create_audio_clip(path) {
        placed(`slot ${index}`, [path]);
        live.change(slot, 'has_clip', options.refuses ? 0 : 1);
      },
    });
    return slot;
  });
  live.device = live.make('MaxDevice', { name: 'musicgen-bridge' });
  let inner = live.device;
  for (let level = 0; level < (options.racks || 0); level += 1) {
    inner = live.make('RackDevice', {}, { chains: [live.make('Chain', {}, { devices: [inner] })] });
  }
  const properties = { has_audio_input: 1, is_frozen: 0, name: '1-Audio', ...options.track };
  const track = live.make('Track', properties, { clip_slots: slots, arrangement_clips: [], devices: [inner] }, {
    create_audio_clip(path, beat) {
      placed('arrangement', [path, beat]);
      if (!options.refuses) track.children.arrangement_clips.push(live.make('Clip', { file_path: path }));
    },
  });
  live.song = live.make(
    'Song',
    {
      tempo: 120, signature_numerator: 4, signature_denominator: 4, is_playing: 0, loop: 0, loop_start: 0,
      loop_length: 4, current_song_time: 0, file_path: '', name: 'set', ...options.song,
    },
    { tracks: [track], view: live.make('Song.View', {}, { detail_clip: null, selected_track: track }) },
  );
  if (options.clip) live.select(options.clip);
  return live;
}

module.exports = { world };
