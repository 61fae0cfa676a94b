// Runs a patcher: node host.js OPTIONS.json; commands come as lines of JSON, events go as lines of JSON.
'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { Max } = require('./max.js');
const { world } = require('./live.js');

const options = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const report = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const live = options.live ? world(options.live, report) : null;
const { patcher } = JSON.parse(fs.readFileSync(options.patcher, 'utf8'));
const max = new Max(patcher, options.folder, options, report, live);

const COMMANDS = {
  touch: ({ name, value }) => max.touch(name, value),
  change: ({ path: where, property, value }) => live.change(live.find(where), property, value),
  select: ({ clip, elsewhere }) => live.select(clip, elsewhere),
  deleteClip: () => (live.song.children.view.children.detail_clip = null),
  close: () => (max.close(), lines.close()),
};

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const command = JSON.parse(line);
  max.guard(() => COMMANDS[command.do](command));
  report({ event: 'did', what: command.do });
});
max.guard(() => max.load());
