import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifySchemaCompiler, FastifyServerOptions } from 'fastify'
import type { FastifySerializerCompiler } from 'fastify/types/schema.js'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { AuthRoutesOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'

/** A schema in the way of zod: it checks for itself, and is no JSON schema. */
interface Parser { safeParse (value: unknown): { data?: unknown, error?: Error } }

function parserOf (schema: unknown): Parser {
  if (typeof schema === 'object' && schema !== null && 'safeParse' in schema) return schema as Parser
  throw new Error(`no schema of ours: ${JSON.stringify(schema)}`)
}

/** As fastify-type-provider-zod has them: the one finds out when a request comes, the other at boot. */
const validatorCompiler: FastifySchemaCompiler<unknown> = ({ schema }) => (value) => {
  const { data, error } = parserOf(schema).safeParse(value)
  return error === undefined ? { value: data } : { error }
}
const serializerCompiler: FastifySerializerCompiler<unknown> = ({ schema }) => {
  const parser = parserOf(schema)
  return (value) => JSON.stringify(parser.safeParse(value).data)
}

const Count: Parser = { safeParse: (value) => Number.isInteger((value as { count?: unknown } | null)?.count) ? { data: value } : { error: new Error('no count') } }

/** An application with a route of its own that has such schemas, and with ours. */
async function open (t: Test, prepare: (app: FastifyInstance) => unknown, { server = {}, auth = {} }: { server?: FastifyServerOptions, auth?: Partial<AuthRoutesOptions> } = {}) {
  const app = await startApp(t, { store: new MemoryStore(), bearer: true }, server)
  await prepare(app)
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null, ...auth })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  return { app, ada: new Browser(app) }
}

const OWN: Record<string, Parameters<typeof open>[1]> = {
  'Fastify\'s own': () => {},
  'its own on the root': (app) => {
    app.setValidatorCompiler(validatorCompiler)
    app.setSerializerCompiler(serializerCompiler)
    app.post('/count', { schema: { body: Count, response: { 200: Count } } }, async (request) => request.body)
  },
  'a validator of its own only': (app) => { app.setValidatorCompiler(validatorCompiler) },
  'a serializer of its own only': (app) => { app.setSerializerCompiler(serializerCompiler) }
}
// Of Fastify's types the one knows ajv's schemas only, the other no modes.
const SERVERS = {
  'given to the server': { schemaController: { compilersFactory: { buildValidator: () => validatorCompiler, buildSerializer: () => serializerCompiler } } },
  'JSON type definitions': { ajv: { mode: 'JTD' } }
} as unknown as Record<string, FastifyServerOptions>

async function usesAll (t: Test, { app, ada }: Awaited<ReturnType<typeof open>>): Promise<void> {
  const login = await ada.post('/login', { username: 'ada', password: 'lovelace', remember: 'true', admin: true })
  t.strictSame([login.statusCode, login.json().user], [200, { id: 'ada' }], 'a text is turned into what the schema says, and what it does not name left out')
  t.strictSame((await ada.post('/login', { username: '', password: 'lovelace' })).json(), { statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request', message: 'body/username must NOT have fewer than 1 characters' })
  t.equal((await ada.post('/login', { username: 'ada', password: 1 })).statusCode, 401)
  t.match((await ada.get('/info')).json(), { authenticated: true, user: { id: 'ada' } })
  const token = (await app.inject({ method: 'POST', url: '/token', payload: { username: 'ada', password: 'lovelace' } })).json()
  t.strictSame(Object.keys(token), ['token', 'user', 'session'])
  const sessions = (await ada.get('/sessions')).json()
  t.equal(sessions.length, 2)
  t.notOk('meta' in sessions[0], 'what the schema does not show is not shown')
  t.equal((await ada.request('DELETE', '/sessions/unknown')).statusCode, 404)
  t.strictSame((await ada.request('DELETE', '/sessions')).json(), { revoked: 1 })
  t.equal((await ada.post('/logout')).statusCode, 204)
}

for (const [name, prepare] of Object.entries(OWN)) {
  t.test(`the routes do the same in an application with ${name}`, async (t) => {
    await usesAll(t, await open(t, prepare))
  })
}

for (const [name, server] of Object.entries(SERVERS)) {
  t.test(`the routes do the same in an application with validation of its own, ${name}`, async (t) => {
    await usesAll(t, await open(t, () => {}, { server }))
  })
}

t.test('the application\'s own routes keep its own', async (t) => {
  const { app } = await open(t, OWN['its own on the root'] as Parameters<typeof open>[1])
  app.post('/later', { schema: { body: Count } }, async (request) => request.body)
  for (const url of ['/count', '/later']) {
    t.strictSame((await app.inject({ method: 'POST', url, payload: { count: 1 } })).json(), { count: 1 })
    t.equal((await app.inject({ method: 'POST', url, payload: { count: 'x' } })).statusCode, 400)
  }
})

t.test('the server\'s options of validation and serialization, and schemas that were added, are used beside them', async (t) => {
  const credentials = Type.Object({ phone: Type.String({ format: 'phone' }), code: Type.Unsafe<string>({ $ref: 'code#' }) }, { additionalProperties: false })
  const { ada } = await open(t, (app) => {
    app.setValidatorCompiler(validatorCompiler)
    app.setSerializerCompiler(serializerCompiler)
    app.addSchema({ $id: 'code', type: 'string', pattern: '^\\d{6}$' })
  }, {
    server: { ajv: { customOptions: { formats: { phone: /^\+\d+$/ }, removeAdditional: false } } },
    // What the body holds is what its schema says.
    auth: { credentials, account: (body) => (body as unknown as { phone: string }).phone, verify: (body) => ({ id: (body as unknown as { phone: string }).phone }) }
  })
  const tried = await Promise.all([{ phone: '+44', code: '123456' }, { phone: '44', code: '123456' }, { phone: '+44', code: '12345' }, { phone: '+44', code: '123456', admin: true }].map(async (body) => (await ada.post('/login', body)).statusCode))
  t.strictSame(tried, [200, 400, 400, 400])
})
