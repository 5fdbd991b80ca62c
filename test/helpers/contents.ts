import fc from 'fast-check'
import type { Redis } from 'ioredis'

/** What lies under a key of Redis: bytes, or commands that make something else of it. */
export type Content = Buffer | Array<[command: string, ...args: string[]]>

const nested = (open: string, close: string) => fc.constantFrom(1, 99, 101, 500, 2_000, 20_000).map((depth) => open.repeat(depth) + '1' + close.repeat(depth))
const deep = fc.oneof(nested('{"a":', '}'), nested('[', ']'), nested('{"a":[', ']}'), nested('{"userId":', '}'))

/** What a member of a record could be set to. */
const MEMBERS = [
  null, true, false, 0, 1, -1, 1.5, 1e308, -1e308, 1e21, 2 ** 31, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 2 ** 63, 1_000_000_000_000, 9_999_999_999_999,
  '', ' ', 'ada', 'bob', '0', '\ud800', '\udfff\ud800', '\u0000', '\n', '+x', '=x', 'x'.repeat(255), 'x'.repeat(256), 'x'.repeat(4_096), 'x'.repeat(5_000),
  [], {}, ['ada'], { id: 'ada' }, '{}', '[]', '{"a":1}', '{"__proto__":{"a":1}}', '{"a":'.repeat(700) + '1' + '}'.repeat(700), '__proto__', 'constructor'
]
const member = fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>(...MEMBERS) }, { weight: 1, arbitrary: fc.jsonValue() })
/** Numbers as only JSON text can say them. */
const SPELLINGS = ['1e400', '-1e400', '1e-400', '-0', '0.1', '01', 'NaN', 'Infinity', '1_000', '0x10', '9'.repeat(400), '1234567890123.0', '1.0e12', '"1"', '']
const NAMES = ['s', 'h', 'c', 'e', 'i', 'u', 'a', 'l', 'm', 'p', 'b', 't', 'k', '__proto__', 'toString', 'cookie', 'id', 'userId']
const DATA = ['userId', '_csrf', 'cart', 'flash', 'passport', 'user', 'cookie', 'sessionId', 'save', 'destroy', 'get', 'toJSON', 'then', '__proto__', 'constructor', 'sealed', '_session', '', 'é\u0000']

/** A record's two lines as JSON, some members of which are something else, or missing. */
function withOtherMembers (text: string): fc.Arbitrary<string> {
  const [first = '', ...rest] = text.split('\n')
  const head = Object.entries(JSON.parse(first) as object)
  const others = (names: string[]) => fc.array(fc.tuple(fc.constantFrom(...names), fc.option(member, { nil: undefined })), { minLength: 1, maxLength: 3 })
  const line = (members: Array<[string, unknown]>) => `{${members.filter(([, value]) => value !== undefined).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`
  const heads = fc.oneof(
    others(NAMES).map((changed) => line([...new Map([...head, ...changed])])),
    // Twice in one text: the last one counts.
    others(NAMES).map((changed) => line([...head, ...changed])),
    others(NAMES).map((changed) => line([...changed, ...head])),
    fc.constantFrom('', ' ', '\ud800', 'x\udfff', 'x'.repeat(256), 'bob', '__proto__').map((user) => line([...head, ['u', user]])),
    fc.tuple(fc.constantFrom('s', 'c', 'e', 'i', 'a'), fc.constantFrom(...SPELLINGS)).map(([name, number]) => first.replace(new RegExp(`("${name}":)\\d+`), `$1${number}`))
  )
  const data = fc.oneof(fc.constant(rest.join('\n')), others(DATA).map(line), deep, fc.jsonValue().map((value) => JSON.stringify(value)), fc.string({ unit: 'binary' }).map((inside) => `{${inside}}`))
  return fc.oneof(
    fc.tuple(heads, fc.constant(rest.join('\n'))),
    fc.tuple(fc.constant(first), data),
    fc.tuple(heads, data)
  ).map((lines) => lines.join('\n'))
}

/** A record's text with some bytes changed, missing or doubled. */
function withOtherBytes (text: string): fc.Arbitrary<Buffer> {
  const bytes = Buffer.from(text)
  const splice = fc.tuple(fc.nat(bytes.length), fc.nat(4), fc.uint8Array({ maxLength: 4 }))
  return fc.array(splice, { minLength: 1, maxLength: 3 }).map((splices) => splices.reduce((present, [at, less, more]) => Buffer.concat([present.subarray(0, at), more, present.subarray(at + less)]), bytes))
}

const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.json(), deep, fc.tuple(fc.json(), fc.json()).map((lines) => lines.join('\n')), fc.tuple(deep, deep).map((lines) => lines.join('\n')))

/** Express' way, with whoever signed in. */
const express = fc.record({ cookie: fc.oneof(member, fc.constant({ originalMaxAge: 1_000, path: '/' })), userId: member, passport: member }).map((session) => JSON.stringify(session))

const otherTypes: fc.Arbitrary<Content> = fc.tuple(fc.constantFrom('rpush', 'sadd', 'hset', 'zadd', 'pfadd', 'xadd', 'setbit', 'geoadd'), fc.string()).map(([command, text]): Content => {
  const args: Record<string, string[]> = { hset: ['s', text], zadd: ['1', text], xadd: ['*', 'h', text], setbit: ['7', '1'], geoadd: ['1', '1', text] }
  return [[command, ...args[command] ?? [text]]]
})

/** What might lie under a session's key: one of these records in some way changed, or something else. */
export function contents (records: readonly string[]): fc.Arbitrary<Content> {
  const changed = records.flatMap((text) => [withOtherMembers(text).map((each) => Buffer.from(each)), withOtherBytes(text)])
  return fc.oneof<Array<fc.MaybeWeightedArbitrary<Content>>>(
    ...changed.map((arbitrary) => ({ weight: 4, arbitrary })),
    { weight: 2, arbitrary: fc.constantFrom(...records.map((text) => Buffer.from(text))) },
    { weight: 3, arbitrary: anyText.map((text) => Buffer.from(text)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: express.map((text) => Buffer.from(text)) },
    { weight: 2, arbitrary: otherTypes }
  )
}

/** What might lie under the key of a user's list, where these are the ids of sessions. */
export function listContents (ids: readonly string[]): fc.Arbitrary<Content> {
  const id = fc.oneof(fc.constantFrom(...ids), fc.string({ unit: 'binary', maxLength: 30 }))
  const began = fc.oneof(fc.constantFrom('', 'x', '-1', 'lq0', 'zzzzzzzzzzzzzzzz', ':'), fc.string())
  const single = fc.tuple(fc.constantFrom('', '', '', '+', '=', '++', '+='), id, fc.constantFrom(':', ':', ':', ''), began).map((parts) => parts.join(''))
  const entry = fc.oneof(single, fc.tuple(single, single).map((pair) => pair.join('\n')), fc.tuple(single, single).map((pair) => `+${pair.join('\n')}`))
  const score = fc.oneof(fc.constantFrom('+inf', '-inf', '0', '-1', '1e308', '9007199254740993'), fc.integer({ min: 1_700_000_000_000, max: 4_000_000_000_000 }).map(String))
  const list = fc.array(fc.tuple(fc.constant('zadd'), score, entry), { minLength: 1, maxLength: 6 }) as fc.Arbitrary<Content>
  return fc.oneof({ weight: 5, arbitrary: list }, { weight: 1, arbitrary: otherTypes }, { weight: 1, arbitrary: anyText.map((text) => Buffer.from(text)) })
}

/** Puts it under a key, in place of what was there. */
export async function put (client: Redis, key: string, content: Content): Promise<void> {
  const commands: Array<[string, ...Array<string | Buffer>]> = Buffer.isBuffer(content) ? [['set', content]] : content
  const many = client.multi().del(key)
  for (const [command, ...args] of commands) many.call(command, key, ...args)
  const failure = (await many.exec())?.find(([error]) => error !== null)?.[0]
  if (failure != null) throw failure
}
