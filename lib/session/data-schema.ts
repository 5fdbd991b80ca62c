import type { TObject, TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import type { Data } from './changes.ts'
import { userOf } from './user-id.ts'

/** Makes data of today's shape out of older data. */
export type Migrate = (data: Data) => Data

/** What of stored data the application can use. */
export interface Fitting {
  readonly data: Data
  /** The keys that had to go. */
  readonly dropped: string[]
  /** What `migrate` threw, or that it gave nothing usable. */
  readonly failure: unknown
}

/**
 * The shape that an application says its session data has, key by key: every key may be missing, a session
 * begins empty. What names the user is never dropped, whatever its shape: that would sign them out.
 */
export class DataSchema {
  readonly #checks: Map<string, TypeCheck<TSchema>>
  readonly #isClosed: boolean
  readonly #migrate: Migrate | null
  readonly #userIdFrom: Parameters<typeof userOf>[1]

  constructor (schema: TObject, { migrate, userIdFrom }: { migrate: Migrate | null, userIdFrom: Parameters<typeof userOf>[1] }) {
    this.#checks = new Map(Object.entries(schema.properties).map(([key, property]) => [key, TypeCompiler.Compile(property)]))
    this.#isClosed = schema.additionalProperties === false
    this.#migrate = migrate
    this.#userIdFrom = userIdFrom
  }

  /** The data as it may be used; the same object when all of it fits. */
  fit (data: Data): Fitting {
    const misfits = this.#misfits(data)
    if (misfits.length === 0) return { data, dropped: [], failure: null }
    if (this.#migrate === null) return { ...this.#without(data, misfits), failure: null }
    try {
      const migrated = JSON.parse(JSON.stringify(this.#migrate(structuredClone(data)))) as Data
      if (typeof migrated !== 'object' || migrated === null || Array.isArray(migrated)) throw new TypeError('migrate must give an object')
      if (userOf(migrated, this.#userIdFrom) !== userOf(data, this.#userIdFrom)) throw new TypeError('migrate cannot change who is signed in')
      return { ...this.#without(migrated, this.#misfits(migrated)), failure: null }
    } catch (failure) {
      return { ...this.#without(data, misfits), failure }
    }
  }

  #misfits (data: Data): string[] {
    return Object.keys(data).filter((key) => !this.#fits(key, data[key]))
  }

  /** What a format or a kind of the application's own throws at does not fit. */
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
