import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { ValueError } from '@sinclair/typebox/value'
import { durationFault, durationMs } from '../util/duration.ts'
import { errors } from '../errors.ts'
import { SessionOptions } from './schema.ts'
import { isClient } from '../redis/connection.ts'

/** What Fastify itself takes at `register`. */
const FASTIFY_OPTIONS = ['prefix', 'logLevel', 'logSerializers']

/** Options whose members are options. */
const NESTED = ['cookie', 'remember', 'encryption', 'nearCache', 'attempts', 'decorators']

/** What is wrong with options, collected so that all of it is said at once. */
export class Faults {
  readonly #faults = new Map<string, string>()

  /** One fault per option: the first says enough. */
  add (option: string, fault: string): void {
    if (!this.#faults.has(option)) this.#faults.set(option, fault)
  }

  /** In milliseconds; `NaN`, of which nothing more is said, when it is none. */
  duration (option: string, value: unknown, { zero = false } = {}): number {
    const fault = durationFault(value, { zero })
    if (fault === null) return durationMs(value)
    this.add(option, fault)
    return NaN
  }

  /** Each as it is told. */
  get texts (): string[] {
    return [...this.#faults].map(([option, fault]) => `${option} ${fault}`)
  }

  throwIfAny (): void {
    if (this.#faults.size > 0) throw new errors.INVALID_OPTIONS(this.texts.join('; '))
  }
}

/** The input as far as its shape is right; what is not is a fault and left out. */
export function shapeOf (input: unknown, faults: Faults, schema: TSchema = SessionOptions): Partial<SessionOptions> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    faults.add('options', 'must be an object')
    return {}
  }
  const options = readOnce(input, faults)
  for (const error of [...innermost(Value.Errors(schema, options))]) {
    const [name = '', member, ...deeper] = error.path.slice(1).split('/').map(unescaped)
    const nested = member !== undefined && NESTED.includes(name) ? options[name] as object : null
    if (name === 'secret') continue // secretsOf has more to say
    if (name === 'cookie' && member === 'secure' && error.value === 'auto') {
      faults.add('cookie.secure', "must be true or false: 'auto' sends the cookie over plain http to whoever asks; set it to false in development and use trustProxy behind a TLS proxy")
    }
    const path = name === 'attempts' ? [name, member, ...deeper] : [name, member]
    faults.add(nested === null ? name : path.join('.'), error.message.startsWith('Unexpected') ? 'is not an option' : `must be ${expectation(error.schema)}`)
    if (nested === null) delete options[name]
    else options[name] = Object.fromEntries(Object.entries(nested).filter(([key]) => key !== member))
  }
  return options
}

/** Returns a part of a path as it was before it became one (RFC 6901 4). */
function unescaped (part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~')
}

/** Each option as it is now: what is checked is what is used, whatever getter or proxy gave it. */
function readOnce (input: object, faults: Faults): Record<string, unknown> {
  const options: Array<[string, unknown]> = []
  const read = (name: string): void => {
    try {
      const value = (input as Record<string, unknown>)[name]
      options.push([name, NESTED.includes(name) || Array.isArray(value) ? copied(value) : value])
    } catch {
      faults.add(name, 'cannot be read')
    }
  }
  try {
    for (const name of Object.keys(input)) if (!FASTIFY_OPTIONS.includes(name)) read(name)
  } catch {
    faults.add('options', 'cannot be read')
  }
  return Object.fromEntries(options)
}

/** As deep as options go. */
function copied (value: unknown, levels = 3): unknown {
  if (levels === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Array.from(value, (each) => copied(each, levels - 1))
  return Object.fromEntries(namesOf(value).map((name) => [name, copied((value as Record<string, unknown>)[name], levels - 1)]))
}

/** What a plain object has, or one that inherits, or has getters of its class. */
function namesOf (value: object): string[] {
  const names = new Set(Object.keys(value))
  for (let each = Object.getPrototypeOf(value) as object | null; each !== null && each !== Object.prototype; each = Object.getPrototypeOf(each) as object | null) {
    for (const [name, { get, enumerable }] of Object.entries(Object.getOwnPropertyDescriptors(each))) if (get !== undefined || enumerable === true) names.add(name)
  }
  return [...names]
}

const REDIS_TARGET = 'must be a redis:// or rediss:// URL, ioredis options, { cluster: [...] } or an ioredis client'

/** What is wrong with the `redis` option, if anything. What the driver would not understand, it would take for localhost. */
export function redisFault (redis: unknown): string | null {
  if (typeof redis === 'string') return /^rediss?:\/\//.test(redis) && URL.canParse(redis) ? null : REDIS_TARGET
  if (typeof redis !== 'object' || redis === null || Array.isArray(redis)) return REDIS_TARGET
  if (isClient(redis)) return null
  if (['get', 'connect', 'sendCommand'].some((name) => typeof (redis as Record<string, unknown>)[name] === 'function')) return 'must be an ioredis client: one of another driver will not do, but its URL will'
  if ('url' in redis) return 'must be the URL itself, or ioredis options, which have no url'
  if ('socket' in redis) return 'must be ioredis options: host and port stand in no socket there'
  if (!('cluster' in redis)) return null
  return Array.isArray(redis.cluster) && redis.cluster.length > 0 && !redis.cluster.some((node) => node == null) ? null : REDIS_TARGET
}

/** The errors of an optional object's members in place of the one that it is not what it should be. */
function * innermost (found: Iterable<ValueError>): Generator<ValueError> {
  for (const error of found) {
    const isObject = typeof error.value === 'object' && error.value !== null && !Array.isArray(error.value)
    const index = isObject ? (error.schema.anyOf as TSchema[] | undefined)?.findIndex(({ type }) => type === 'object') ?? -1 : -1
    if (index === -1) yield error
    else yield * innermost(error.errors[index] ?? [])
  }
}

/** In words what a schema takes. */
function expectation (schema: TSchema): string {
  if (typeof schema.expects === 'string') return schema.expects
  if (Array.isArray(schema.anyOf)) {
    const parts = (schema.anyOf as TSchema[]).filter((each) => each.type !== 'undefined').map(expectation)
    return [...new Set(parts)].join(' or ')
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.type === 'boolean') return 'true or false'
  if (schema.type === 'array') return 'an array of strings'
  return schema.type === 'object' ? 'an object' : `a ${schema.type as string}`
}
