// OSC as [udpsend] and [udpreceive] have it: every number leaves as a float, what comes must be i, f and s.
'use strict';

function padded(text) {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([bytes, Buffer.alloc(4 - (bytes.length % 4))]);
}

function encode(atoms) {
  const [address, ...rest] = atoms;
  if (typeof address !== 'string' || address[0] !== '/') throw new Error(`udpsend was given ${JSON.stringify(atoms)}`);
  let tags = ',';
  const body = [];
  for (const atom of rest) {
    if (typeof atom === 'number' && Number.isFinite(atom)) {
      const four = Buffer.alloc(4);
      four.writeFloatBE(atom);
      tags += 'f';
      body.push(four);
    } else if (typeof atom === 'string') {
      tags += 's';
      body.push(padded(atom));
    } else {
      throw new Error(`udpsend can't send ${atom} in ${JSON.stringify(atoms)}`);
    }
  }
  return Buffer.concat([padded(address), padded(tags), ...body]);
}

function decode(bytes) {
  let at = 0;
  const text = () => {
    const end = bytes.indexOf(0, at);
    if (end < 0) throw new Error('a string without an end');
    const found = bytes.toString('utf8', at, end);
    at = (end + 4) & ~3;
    return found;
  };
  const atoms = [text()];
  const tags = text();
  for (const tag of tags.slice(1)) {
    if (tag === 's') atoms.push(text());
    else if (tag === 'i') atoms.push(bytes.readInt32BE(at)), (at += 4);
    else if (tag === 'f') atoms.push(bytes.readFloatBE(at)), (at += 4);
    else throw new Error(`the daemon sent type ${tag}`);
  }
  if (at !== bytes.length) throw new Error('bytes behind the last argument');
  return atoms;
}

module.exports = { encode, decode };
