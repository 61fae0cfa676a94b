-- @noindex
-- JSON to Lua values and back: objects and arrays become tables, null becomes nil; see RFC 8259.

local json = {}

local SHORT = { ["\\"] = "\\", ['"'] = '"', ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\127]', function(character)
    return ("\\u%04x"):format(character:byte())
  end) .. '"'
end

local function number(value)
  assert(value == value and math.abs(value) < math.huge, "JSON holds finite numbers only")
  return math.type(value) == "integer" and tostring(value) or ("%.17g"):format(value)
end

--- Returns a value as JSON on one line; a table with [1] is an array, any other an object with its keys in order.
function json.encode(value)
  local kind = type(value)
  if kind == "string" then
    return quoted(value)
  elseif kind == "number" then
    return number(value)
  elseif kind == "boolean" then
    return tostring(value)
  end
  assert(kind == "table", "JSON holds no " .. kind)
  local parts = {}
  if value[1] ~= nil then
    for index, one in ipairs(value) do
      parts[index] = json.encode(one)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local names = {}
  for name in pairs(value) do
    names[#names + 1] = name
  end
  table.sort(names)
  for index, name in ipairs(names) do
    parts[index] = quoted(name) .. ":" .. json.encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local parse

local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local function expect(text, at, wanted)
  at = skip(text, at)
  if text:sub(at, at) ~= wanted then
    error(("JSON: %s expected at %d"):format(wanted, at), 0)
  end
  return at + 1
end

-- The character of a \u escape at `at`, and where it ends; one beyond the first 65536 stands as two halves.
local function escaped(text, at)
  local high = tonumber(text:match("^\\u(%x%x%x%x)", at) or error("JSON: a wrong escape", 0), 16)
  local low = text:match("^\\u([dD][c-fC-F]%x%x)", at + 6)
  if low and high >= 0xD800 and high < 0xDC00 then
    return utf8.char(0x10000 + (high - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00), at + 12
  end
  return utf8.char(high), at + 6
end

local function parse_string(text, at)
  local parts, from = {}, at + 1
  while true do
    local stop = text:find('["\\]', from) or error("JSON: a text has no end", 0)
    parts[#parts + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then
      return table.concat(parts), stop + 1
    end
    local short = SHORT[text:sub(stop + 1, stop + 1)]
    if short then
      parts[#parts + 1], from = short, stop + 2
    else
      parts[#parts + 1], from = escaped(text, stop)
    end
  end
end

local function parse_list(text, at)
  local list = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "]" then
    return list, at + 1
  end
  while true do
    list[#list + 1], at = parse(text, at)
    at = skip(text, at)
    if text:sub(at, at) ~= "," then
      return list, expect(text, at, "]")
    end
    at = at + 1
  end
end

local function parse_object(text, at)
  local object = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "}" then
    return object, at + 1
  end
  while true do
    expect(text, at, '"')
    local name, after = parse_string(text, skip(text, at))
    object[name], at = parse(text, expect(text, after, ":"))
    at = skip(text, at)
    if text:sub(at, at) ~= "," then
      return object, expect(text, at, "}")
    end
    at = at + 1
  end
end

local WORDS = { ["true"] = true, ["false"] = false }

function parse(text, at)
  at = skip(text, at)
  local first = text:sub(at, at)
  if first == "{" then
    return parse_object(text, at)
  elseif first == "[" then
    return parse_list(text, at)
  elseif first == '"' then
    return parse_string(text, at)
  end
  local word = text:match("^[%w+.-]+", at) or error(("JSON: nothing to read at %d"):format(at), 0)
  local value = WORDS[word]
  if value == nil and word ~= "null" then
    value = word:find("^-?%d") and tonumber(word) or error("JSON: no such word: " .. word, 0)
  end
  return value, at + #word
end

--- Returns the value that a text holds; raises an error that begins with "JSON" where it is not JSON.
function json.decode(text)
  local value, at = parse(text, 1)
  if skip(text, at) <= #text then
    error("JSON: something follows its end", 0)
  end
  return value
end

return json
