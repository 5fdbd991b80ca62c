import fc from 'fast-check'
import { secret } from './app.ts'

/** What no message may repeat. */
export const MARK = 'LEAKED'
/** What the application's own code throws while it is asked. */
export class Theirs extends Error { override message = MARK }
const hostile = (): never => { throw new Theirs() }
export const throwing = (name: string) => Object.defineProperty({}, name, { enumerable: true, get: hostile })
/** An object that is another each time it is looked at. */
export const fickle = (name: string, ...values: unknown[]) => Object.defineProperty({}, name, { enumerable: true, get: () => values.length > 1 ? values.shift() : values[0] })
const cyclic: Record<string, unknown> = { secret }
cyclic.cookie = cyclic.remember = cyclic.attempts = cyclic.store = cyclic
const huge = new Array<string>(100_000).fill(MARK)
class Instance { secret = secret; get cookie () { return { secure: false } } }

const OBJECTS = (): unknown[] => [
  cyclic, new Instance(), Object.freeze({ secret, cookie: Object.freeze({ secure: false }) }), Object.create(null), Object.create({ secret }),
  new Proxy({ secret }, { get: hostile }), new Proxy({ secret }, { ownKeys: hostile }), new Proxy({ secret }, { getOwnPropertyDescriptor: hostile }), new Proxy({}, { has: hostile, get: () => undefined }),
  throwing('secret'), throwing('cookie'), throwing('path'), throwing('keys'), throwing('cluster'), throwing('get'), throwing('max'), throwing('type'), throwing('then'),
  fickle('path', '/', '/; Domain=evil.example'), fickle('secure', true, 'auto', false), fickle('max', 5, NaN, 0),
  JSON.parse('{"__proto__":{"secure":false},"constructor":{"prototype":{}}}'), { [Symbol('x')]: MARK, secret }, { type: 'object' }, { type: 'object', properties: null }, { properties: {} },
  huge, new Array(5), Array.from({ length: 3 }, hostileObject), new Map([['secret', secret]]), new Date(NaN), /x/, Promise.resolve(secret), Buffer.alloc(9), new Uint8Array(3),
  () => MARK, async () => {}, class {}, Symbol(MARK), 10n, NaN, Infinity, -Infinity, -0, '', '__proto__', MARK.repeat(10_000)
]
function hostileObject () { return new Proxy({}, { get: hostile, ownKeys: hostile }) }

/** What makes a value: fast-check looks into what it is given, and some of these throw. */
export type Made = () => unknown
const object: fc.Arbitrary<Made> = fc.nat(OBJECTS().length - 1).map((index) => () => OBJECTS()[index])
export const anything: fc.Arbitrary<Made> = fc.oneof(object, fc.anything({ withBigInt: true, withBoxedValues: true, withDate: true, withMap: true, withNullPrototype: true, withObjectString: true, withSet: true, withSparseArray: true, withTypedArray: true }).map((value) => () => value))
/** An object of what each of these makes. */
export const made = (members: Record<string, Made>) => Object.fromEntries(Object.entries(members).map(([name, make]) => [name, make()]))
