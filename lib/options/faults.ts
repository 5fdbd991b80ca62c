import type { TSchema } from '@sinclair/typebox'
import { Errors } from '@sinclair/typebox/errors'
import type { ValueError } from '@sinclair/typebox/errors'
import { durationFault, durationMs } from '../util/duration.ts'
import { errors } from '../errors.ts'
import { insteadOf, meantBy } from './other-libraries.ts'

/** Options that Fastify itself takes at `register`. */
export const FASTIFY_OPTIONS: readonly string[] = ['prefix', 'logLevel', 'logSerializers']

/** Faults of options, and warnings. They are collected, so that one error names everything. */
export class Faults {
  readonly #faults = new Map<string, string>()
  readonly warnings: Array<{ message: string }> = []

  /** Adds what is wrong with an option. Of several faults of one option the first stays: it says enough. */
  add (option: string, fault: string): void {
    if (!this.#faults.has(option)) this.#faults.set(option, fault)
  }

  /** Adds a warning, to be logged once at boot. */
  warn (message: string): void {
    this.warnings.push({ message })
  }

  /** Returns a duration in milliseconds. If it is none, adds a fault and returns `NaN`. */
  duration (option: string, value: unknown, { zero = false } = {}): number {
    const fault = durationFault(value, { zero })
    if (fault === null) return durationMs(value)
    this.add(option, fault)
    return NaN
  }

  /** The faults, each with the name of its option. */
  get texts (): string[] {
    return [...this.#faults].map(([option, fault]) => `${option} ${fault}`)
  }

  /** @throws ERR_SESSION_INVALID_OPTIONS if there are faults */
  throwIfAny (): void {
    if (this.#faults.size > 0) throw new errors.INVALID_OPTIONS(this.texts.join('; '))
  }
}

/** Returns what a call returns that goes into an object of the application, or `otherwise` if it throws. */
export function attempted<T> (call: () => T, otherwise: T): T {
  try {
    return call()
  } catch {
    return otherwise
  }
}

/** Returns the options that fit their schema. Adds a fault for each other one. */
export function fitting (input: unknown, schema: TSchema, faults: Faults): Record<string, unknown> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    faults.add('options', 'must be an object')
    return {}
  }
  const withMembers = namesWithMembers(schema)
  const options = readOnce(input, withMembers, faults)
  for (const error of [...innermost(Errors(schema, options))]) {
    const [name = '', member, ...deeper] = error.path.slice(1).split('/').map(unescaped)
    const nested = member !== undefined && withMembers.has(name) ? options[name] as object : null
    if (name === 'secret') continue // There is more to say of it.
    const path = nested === null ? [name] : name === 'attempts' ? [name, member, ...deeper] : [name, member]
    const option = path.join('.')
    faults.add(option, error.message.startsWith('Unexpected') ? unknown(option) : unfit(option, error))
    if (nested === null) delete options[name]
    else options[name] = Object.fromEntries(Object.entries(nested).filter(([key]) => key !== member))
  }
  return options
}

/** Returns a part of a path as it was before it became one (RFC 6901 4). */
function unescaped (part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~')
}

function unknown (option: string): string {
  const instead = insteadOf(option)
  return `is not an option${instead === null ? '' : `: ${instead}`}`
}

function unfit (option: string, { value, schema }: ValueError): string {
  return meantBy(option, value) ?? `must be ${expectation(schema)}`
}

/** Returns the names of the options that have members. */
function namesWithMembers (schema: TSchema): Set<string> {
  const members = Object.entries((schema.properties ?? {}) as Record<string, TSchema>)
  return new Set(members.filter(([, member]) => objectIndex(member) !== -1).map(([name]) => name))
}

/** Returns which part of a union is the schema of an object, or -1. */
function objectIndex ({ anyOf = [] }: TSchema): number {
  return (anyOf as TSchema[]).findIndex(({ type }) => type === 'object')
}

/** Whether an option is one of Fastify's own. A prefix that is no path was meant for the keys in Redis. */
function isOfFastify (name: string, value: unknown): boolean {
  if (name === 'prefix' && typeof value === 'string' && !/^(\/|$)/.test(value)) return false
  return FASTIFY_OPTIONS.includes(name)
}

/** Reads each option once: what is checked is what is used, whatever getter or proxy returned it. */
function readOnce (input: object, withMembers: Set<string>, faults: Faults): Record<string, unknown> {
  const options: Array<[string, unknown]> = []
  const read = (name: string): void => {
    try {
      const value = (input as Record<string, unknown>)[name]
      options.push([name, withMembers.has(name) || Array.isArray(value) ? copied(value) : value])
    } catch {
      faults.add(name, 'cannot be read')
    }
  }
  try {
    for (const name of Object.keys(input)) read(name)
  } catch {
    faults.add('options', 'cannot be read')
  }
  return Object.fromEntries(options.filter(([name, value]) => !isOfFastify(name, value)))
}

/** Copies a value, as deep as options go. */
function copied (value: unknown, levels = 3): unknown {
  if (levels === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Array.from(value, (each) => copied(each, levels - 1))
  const members = namesOf(value).map((name) => [name, copied((value as Record<string, unknown>)[name], levels - 1)])
  return Object.fromEntries(members)
}

/** Returns the names of an object's members, also of those that it inherits, and of the getters of its class. */
function namesOf (value: object): string[] {
  const names = new Set(Object.keys(value))
  let each = Object.getPrototypeOf(value) as object | null
  while (each !== null && each !== Object.prototype) {
    for (const [name, { get, enumerable }] of Object.entries(Object.getOwnPropertyDescriptors(each))) {
      if (get !== undefined || enumerable === true) names.add(name)
    }
    each = Object.getPrototypeOf(each) as object | null
  }
  return [...names]
}

/** Replaces the error of an object that does not fit a union by the errors of its members. */
function * innermost (found: Iterable<ValueError>): Generator<ValueError> {
  for (const error of found) {
    const isObject = typeof error.value === 'object' && error.value !== null && !Array.isArray(error.value)
    const index = isObject ? objectIndex(error.schema) : -1
    if (index === -1) yield error
    else yield * innermost(error.errors[index] ?? [])
  }
}

/** Says in words what a schema takes. */
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
