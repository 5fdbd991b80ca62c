import type { TObject, TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import { isObject } from './arguments.ts'
import type { Data } from './changes.ts'
import { userOf } from './user-id.ts'

/** Makes data of today's shape out of older data. */
type Migrate = (data: Data) => Data

/** The part of stored data that the application can use. */
interface Fitting {
  readonly data: Data
  /** The keys that had to go. */
  readonly dropped: string[]
  /** The error of `migrate`, or `null`. */
  readonly failure: unknown
}

/** Options of a `DataSchema`. */
interface DataSchemaOptions {
  migrate: Migrate | null
  userIdFrom: Parameters<typeof userOf>[1]
}

/**
 * The shape of an application's session data, key by key. Every key may be missing, as a session begins empty. A key
 * that names the user is never dropped, whatever its shape: that would sign them out.
 */
export class DataSchema {
  readonly #checks: Map<string, TypeCheck<TSchema>>
  readonly #isClosed: boolean
  readonly #migrate: Migrate | null
  readonly #userIdFrom: Parameters<typeof userOf>[1]

  constructor (schema: TObject, { migrate, userIdFrom }: DataSchemaOptions) {
    const properties = Object.entries(schema.properties)
    this.#checks = new Map(properties.map(([key, property]) => [key, TypeCompiler.Compile(property)]))
    this.#isClosed = schema.additionalProperties === false
    this.#migrate = migrate
    this.#userIdFrom = userIdFrom
  }

  /** Returns the data that fits: the same object when all of it does. */
  fit (data: Data): Fitting {
    const misfits = this.#misfits(data)
    if (misfits.length === 0) return { data, dropped: [], failure: null }
    if (this.#migrate === null) return { ...this.#without(data, misfits), failure: null }
    try {
      const migrated = this.#migrated(data, this.#migrate)
      return { ...this.#without(migrated, this.#misfits(migrated)), failure: null }
    } catch (failure) {
      return { ...this.#without(data, misfits), failure }
    }
  }

  /** @throws TypeError for a result that is no object, or names another user */
  #migrated (data: Data, migrate: Migrate): Data {
    const migrated = JSON.parse(JSON.stringify(migrate(structuredClone(data)))) as Data
    if (!isObject(migrated)) throw new TypeError('migrate must give an object')
    const isSameUser = userOf(migrated, this.#userIdFrom) === userOf(data, this.#userIdFrom)
    if (!isSameUser) throw new TypeError('migrate cannot change who is signed in')
    return migrated
  }

  #misfits (data: Data): string[] {
    return Object.keys(data).filter((key) => !this.#fits(key, data[key]))
  }

  /** Whether a value fits. If a format or a kind of the application's own throws, it does not. */
  #fits (key: string, value: unknown): boolean {
    try {
      return this.#checks.get(key)?.Check(value) ?? !this.#isClosed
    } catch {
      return false
    }
  }

  #without (data: Data, misfits: string[]): { data: Data, dropped: string[] } {
    const kept = { ...data }
    const dropped = misfits.filter((key) => {
      const { [key]: value, ...others } = kept
      if (userOf(others, this.#userIdFrom) !== userOf(kept, this.#userIdFrom)) return false
      delete kept[key]
      return value !== undefined
    })
    return { data: dropped.length === 0 ? data : kept, dropped }
  }
}
