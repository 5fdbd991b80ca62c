import type { TObject } from '@sinclair/typebox'
import { errorCodes } from 'fastify'
import type { FastifyRequest, RouteShorthandOptions } from 'fastify'
import { attempted } from '../../options/faults.ts'
import { assertObject, isObject } from '../../session/arguments.ts'
import { describedBy, isStandardSchema, resultOf } from './standard-schema.ts'
import type { StandardIssue, StandardSchema } from './standard-schema.ts'

/** The body of a login, by the schema of its credentials. */
export interface LoginBody {
  /** JSON schema for @fastify/swagger. Fastify checks the body by it, unless `options` do. */
  readonly schema: object
  /** Options of the routes that read it. */
  readonly options: Pick<RouteShorthandOptions, 'preValidation' | 'validatorCompiler'>
  /** Whether the schema declares a member. `null`: it cannot tell, and what the credentials have counts. */
  readonly declares: (name: string) => boolean | null
}

/** Returns a member of credentials. What the schema does not declare is the client's word only, and not there. */
export function memberOf (body: LoginBody, credentials: object, name: string): unknown {
  const isThere = body.declares(name) ?? Object.hasOwn(credentials, name)
  return isThere ? (credentials as Record<string, unknown>)[name] : undefined
}

/** How much of what does not fit a reply names. A client decides how much that is. */
const MAX_ISSUES = 10
const MAX_PATH_LENGTH = 200

/** Reads the schema of credentials. */
export function loginBodyOf (credentials: TObject | StandardSchema): LoginBody {
  if (!isStandardSchema(credentials)) {
    return { schema: credentials, options: {}, declares: declaredIn(credentials.properties) }
  }
  return {
    schema: describedBy(credentials, 'input') ?? {},
    options: {
      // As Fastify's own check: after the application's preValidation hooks, before its preHandler hooks.
      preValidation: async (request: FastifyRequest) => { await replaceBody(credentials, request) },
      validatorCompiler: () => () => true
    },
    declares: declaredIn(describedBy(credentials, 'output')?.properties)
  }
}

function declaredIn (properties: unknown): LoginBody['declares'] {
  return (name) => isObject(properties) ? Object.hasOwn(properties, name) : null
}

/**
 * Puts what a schema makes of the body in its place.
 * @throws FST_ERR_VALIDATION if the body does not fit
 * @throws TypeError if the schema fails, or returns no object: status 500
 */
async function replaceBody (schema: StandardSchema, request: FastifyRequest): Promise<void> {
  let paths: string[] | null
  let value: unknown
  try {
    const result = await resultOf(schema, request.body)
    paths = result.issues === undefined ? null : pathsOf(result.issues)
    value = paths === null ? (result as { value?: unknown }).value : undefined
  } catch (error) {
    throw failureOf(error)
  }
  if (paths !== null) throw misfit(paths)
  assertObject(value, 'what the credentials schema returns')
  request.body = value
}

/** Returns where issues are, as JSON pointers, each once. */
function pathsOf (issues: readonly StandardIssue[]): string[] {
  const paths = issues.slice(0, MAX_ISSUES).map(({ path = [] }) => path.map((part) => {
    const key = typeof part === 'object' ? part.key : part
    return `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`
  }).join('').slice(0, MAX_PATH_LENGTH))
  return [...new Set(paths)]
}

/** Makes the error of a body that does not fit. It has none of the schema's messages: they may repeat a password. */
function misfit (paths: string[]): Error {
  const validation = (paths.length === 0 ? [''] : paths).map((instancePath) => {
    return { instancePath, keyword: 'schema', schemaPath: '#', params: {}, message: 'must fit the schema' }
  })
  const message = validation.map(({ instancePath, message }) => `body${instancePath} ${message}`).join(', ')
  return Object.assign(new errorCodes.FST_ERR_VALIDATION(message), { validation, validationContext: 'body' })
}

/** Makes the error of a schema that fails. It has only the place of what was thrown: messages may repeat a password. */
function failureOf (cause: unknown): Error {
  const failure = new TypeError('the credentials schema threw an error, or returned no result of Standard Schema')
  const stack = attempted(() => String((cause as { stack?: unknown }).stack), '')
  const places = stack.split('\n').filter((line) => /^ {4}at .+:\d+:\d+\)?$/.test(line))
  failure.stack = [`TypeError: ${failure.message}`, ...places].join('\n')
  return failure
}
