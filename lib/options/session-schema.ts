import { FormatRegistry, TypeGuard } from '@sinclair/typebox'
import type { Faults } from './faults.ts'
import type { SessionOptions } from './schema.ts'
import { DataSchema } from '../session/data-schema.ts'
import { RESERVED_NAMES } from '../session/data.ts'

/** What `sessionSchema` and `migrate` say of session data; `null`: nothing. */
export function dataSchemaOf ({ sessionSchema, migrate, userIdFrom }: Partial<SessionOptions>, faults: Faults): DataSchema | null {
  if (migrate !== undefined && typeof migrate !== 'function') faults.add('migrate', 'must be a function')
  else if (migrate !== undefined && sessionSchema === undefined) faults.add('migrate', 'goes with sessionSchema')
  if (sessionSchema === undefined) return null
  try {
    if (!TypeGuard.IsObject(sessionSchema)) throw new TypeError('no object')
    const unknown = formatsIn(sessionSchema).find((format) => !FormatRegistry.Has(format))
    if (unknown !== undefined) {
      faults.add('sessionSchema', `uses the format ${JSON.stringify(unknown)}, which TypeBox has to be told of: FormatRegistry.Set(…)`)
      return null
    }
    const reserved = Object.keys(sessionSchema.properties).find((name) => RESERVED_NAMES.has(name))
    if (reserved !== undefined) faults.add('sessionSchema', `has ${reserved}, a name that is reserved on request.session`)
    return new DataSchema(sessionSchema, { migrate: migrate ?? null, userIdFrom: userIdFrom ?? null })
  } catch {
    faults.add('sessionSchema', 'must be a Type.Object(…) of @sinclair/typebox')
    return null
  }
}

/** The formats that a schema names: what TypeBox does not know fits nothing. */
function formatsIn (schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { format } = schema as { format?: unknown }
  return [...typeof format === 'string' ? [format] : [], ...Object.values(schema).flatMap(formatsIn)]
}
