import { isObject } from '../../session/arguments.ts'

/**
 * Schema as Zod, Valibot, ArkType and others make it: version 1 of Standard Schema. The types are a copy, which the
 * specification allows, so that they need no package.
 * @see https://standardschema.dev/schema
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** What any other library may use. */
  readonly '~standard': StandardProps<Input, Output>
}

/** Members that version 1 of Standard Schema names. */
interface StandardProps<Input, Output> {
  /** Version of the interface. */
  readonly version: 1
  /** Name of the library. */
  readonly vendor: string
  /** Checks a value. Returns what it has become, or why it does not fit. */
  readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
  /** Types of what goes in and what comes out. For TypeScript alone. */
  readonly types?: StandardTypes<Input, Output> | undefined
}

/** What goes into a schema and comes out of it. */
interface StandardTypes<Input, Output> {
  /** Type of what is checked. */
  readonly input: Input
  /** Type of what it becomes. */
  readonly output: Output
}

/** Result of `validate`. */
export type StandardResult<Output> = StandardSuccess<Output> | StandardFailure

/** Result for a value that fits. */
interface StandardSuccess<Output> {
  /** What the value has become. */
  readonly value: Output
  /** Nothing: there is none. */
  readonly issues?: undefined
}

/** Result for a value that does not fit. */
interface StandardFailure {
  /** What is wrong. */
  readonly issues: readonly StandardIssue[]
}

/** One thing that does not fit. */
export interface StandardIssue {
  /** What is wrong, for people. It may repeat the value. */
  readonly message: string
  /** Names of members that lead there, or objects that have them. */
  readonly path?: ReadonlyArray<PropertyKey | StandardPathSegment> | undefined
}

/** A name of a member, where a library says more of it. */
interface StandardPathSegment {
  /** The name. */
  readonly key: PropertyKey
}

/** Type that a schema gives out. */
export type OutputOf<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output']

/** Standard JSON Schema: what a schema may have as well, to describe itself. */
interface Describing {
  readonly jsonSchema?: Record<'input' | 'output', (options: { target: string }) => unknown>
}

/** What schemas of Zod have as well. */
interface OfZod {
  safeParseAsync: (value: unknown) => Promise<{ success: boolean, data?: unknown, error?: { issues: StandardIssue[] } }>
}

/** Whether a value is a schema of version 1. It may be a function, as those of ArkType are. */
export function isStandardSchema (value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  const props = (value as Partial<StandardSchema>)['~standard']
  return typeof props === 'object' && props !== null && props.version === 1 && typeof props.validate === 'function'
}

/** Checks a value by a schema. Rejects if the schema throws. */
export async function resultOf (schema: StandardSchema, value: unknown): Promise<StandardResult<unknown>> {
  if (!isOfZod(schema)) return await schema['~standard'].validate(value)
  // Zod's own `validate` begins what is asynchronous twice, up to 4.6 at least. Nobody catches what the first time
  // rejects with, and that ends the process.
  const { success, data, error } = await schema.safeParseAsync(value)
  return success ? { value: data } : { issues: error?.issues ?? [] }
}

function isOfZod (schema: StandardSchema): schema is StandardSchema & OfZod {
  return schema['~standard'].vendor === 'zod' && typeof (schema as Partial<OfZod>).safeParseAsync === 'function'
}

/**
 * Returns the JSON schema of what goes into a schema, or comes out of it. Returns `null` if the schema cannot tell.
 * @see https://standardschema.dev/json-schema
 */
export function describedBy (schema: StandardSchema, side: 'input' | 'output'): Record<string, unknown> | null {
  try {
    // The draft that Fastify reads.
    const described = (schema['~standard'] as Describing).jsonSchema?.[side]({ target: 'draft-07' })
    // @fastify/swagger cannot follow references into the schema of a body.
    const isWhole = isObject(described) && !JSON.stringify(described).includes('"$ref"')
    return isWhole ? described as Record<string, unknown> : null
  } catch {
    // Not everything that a schema does has a JSON schema, such as a transformation.
    return null
  }
}
