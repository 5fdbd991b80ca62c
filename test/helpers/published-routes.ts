import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import sessionPlugin, { adminRoutes, authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import { secret } from './app.ts'

/** A route, as its schemas describe it. */
export interface Route {
  readonly method: string
  /** Path below the prefix of the routes. */
  readonly path: string
  readonly summary: string
  readonly description: string
  /** What a request sends. */
  readonly fields: readonly Field[]
  readonly replies: readonly Reply[]
}

interface Field {
  readonly name: string
  readonly place: 'body' | 'path' | 'query'
  readonly type: string
  readonly isRequired: boolean
  readonly description: string
}

interface Reply {
  readonly status: string
  /** Its members, as `{ user, session }`. '': it has no body, or that of an error. */
  readonly body: string
  readonly description: string
}

/** The parts of an OpenAPI document that are read here. */
interface Schema {
  type?: string
  const?: unknown
  enum?: unknown[]
  anyOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  description?: string
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  default?: unknown
}
interface Content { content?: Record<string, { schema: Schema }> }
interface Operation {
  summary?: string
  description?: string
  parameters?: Array<{ name: string, in: 'path' | 'query', required?: boolean, description?: string, schema: Schema }>
  requestBody?: Content
  responses: Record<string, Content & { description: string }>
}

/** Returns the routes of each plugin of routes, as @fastify/swagger sees them: `authRoutes` with bearer tokens. */
export async function publishedRoutes (): Promise<Record<'auth' | 'sessions' | 'admin', Route[]>> {
  const app = Fastify()
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'routes', version: '1' } } })
  await app.register(sessionPlugin, { secret, store: new MemoryStore(), bearer: true })
  await app.register(authRoutes, { prefix: '/auth', verify: () => null })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  await app.register(adminRoutes, { prefix: '/admin', guard: async () => {} })
  await app.ready()
  const { paths } = app.swagger() as unknown as { paths: Record<string, Record<string, Operation>> }
  await app.close()
  const routesUnder = (prefix: string) => Object.entries(paths).filter(([path]) => path.startsWith(prefix))
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => {
      return routeOf(method.toUpperCase(), path.slice(prefix.length).replace(/\{(\w+)\}/g, ':$1') || '/', operation)
    }))
  return { auth: routesUnder('/auth'), sessions: routesUnder('/sessions'), admin: routesUnder('/admin') }
}

function routeOf (method: string, path: string, operation: Operation): Route {
  const { summary = '', description = '', parameters = [], requestBody, responses } = operation
  const sent = schemaOf(requestBody)
  // A body that may be missing is one of two.
  const body = sent?.anyOf?.find(({ type }) => type === 'object') ?? sent
  return {
    method,
    path,
    summary,
    description,
    fields: [
      ...parameters.map((each) => fieldOf(each.name, each.in, { ...each.schema, description: each.description ?? '' }, each.required === true)),
      ...Object.entries(body?.properties ?? {}).map(([name, schema]) => {
        return fieldOf(name, 'body', schema, body?.required?.includes(name) === true)
      })
    ],
    replies: Object.entries(responses).map(([status, reply]) => {
      const isError = Number(status) >= 400
      return { status, body: isError ? '' : bodyOf(schemaOf(reply)), description: reply.description }
    })
  }
}

function fieldOf (name: string, place: Field['place'], schema: Schema, isRequired: boolean): Field {
  return { name, place, type: typeOf(schema), isRequired, description: schema.description ?? '' }
}

function schemaOf (of: Content | undefined): Schema | undefined {
  return Object.values(of?.content ?? {})[0]?.schema
}

/** Names the type of a value, with its bounds. */
function typeOf ({ type, anyOf, items, minLength, maxLength, minimum, maximum, default: value, ...rest }: Schema): string {
  if (anyOf !== undefined) return anyOf.map(typeOf).join(' | ')
  if (rest.const !== undefined) return `'${String(rest.const)}'`
  if (rest.enum !== undefined) return rest.enum.map((each) => `'${String(each)}'`).join(' | ')
  if (type === 'array') return `${typeOf(items ?? {})}[]`
  const [from, to] = [minLength ?? minimum, maxLength ?? maximum]
  const bounds = from === undefined || to === undefined ? '' : `, ${from} to ${to.toLocaleString('en')}`
  return `${type ?? 'any'}${bounds}${value === undefined ? '' : `, default ${String(value)}`}`
}

/** Names the members of a body. */
function bodyOf (schema: Schema | undefined): string {
  if (schema?.type === 'array') return `[${bodyOf(schema.items)}, …]`
  const names = Object.keys(schema?.properties ?? {})
  return names.length === 0 ? '' : `{ ${names.join(', ')} }`
}
