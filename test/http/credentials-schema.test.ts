import formbody from '@fastify/formbody'
import swagger from '@fastify/swagger'
import type { FastifyError, FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { exchange } from '../helpers/raw-http.ts'

/*
 * `credentials` of any library that implements Standard Schema, here made by hand. Those of real libraries:
 * test/interop/schemas.test.ts.
 */

const PASSWORD = 'lovelace-1815'
const WRONG = { email: 'ada@example.com', password: 'PLEASE-DO-NOT-LEAK' }
const RIGHT = { email: ' Ada@Example.com', password: PASSWORD }

type Credentials = Record<string, unknown>
type Validate = (value: unknown) => unknown
/** Options of the routes whose credentials are any. */
type Options = Omit<AuthRoutesOptions<Credentials>, 'credentials' | 'verify'> & Partial<Pick<AuthRoutesOptions<Credentials>, 'verify'>>
interface Setting { options?: Options, plugin?: Partial<SessionOptions>, server?: FastifyServerOptions, prepare?: (app: FastifyInstance) => unknown }

/** As a library does: an e-mail address in small letters, and whatever else was sent. */
const strict: Validate = (value) => {
  const { email, password, ...rest } = (value ?? {}) as Credentials
  const issues = [
    ...typeof email === 'string' ? [] : [{ message: `${String(email)} is no text`, path: ['email'] }],
    ...typeof password === 'string' ? [] : [{ message: `${JSON.stringify(password)} is no text`, path: [{ key: 'password' }] }]
  ]
  return issues.length > 0 ? { issues } : { value: { ...rest, email: String(email).trim().toLowerCase(), password } }
}

function schemaOf (validate: Validate, more: object = {}) {
  return { '~standard': { version: 1, vendor: 'test', validate, ...more } }
}

async function open (t: Test, credentials: unknown, { options = {}, plugin = {}, server = {}, prepare = () => {} }: Setting = {}) {
  const verified: Credentials[] = []
  const app = await startApp(t, { store: new MemoryStore(), bearer: true, ...plugin }, server)
  await prepare(app)
  const verify: Options['verify'] = (given) => {
    verified.push(given)
    return given.email === 'ada@example.com' && given.password === PASSWORD ? { id: 'ada' } : null
  }
  await app.register(authRoutes, { verify, ...options, credentials } as unknown as AuthRoutesOptions)
  return { app, verified, ada: new Browser(app), logged: () => JSON.stringify(app.lines) }
}

const warnings = ({ lines }: { lines: Array<{ level: number, msg: string }> }) => lines.filter(({ level }) => level === 40).map(({ msg }) => msg)
const BY_NETWORK_ONLY = 'authRoutes: failed logins are limited by network only: set account, which tells whom credentials name'

const MAKES: Record<string, unknown> = {
  'that is an object': schemaOf(strict),
  'that is a function': Object.assign(() => { throw new Error('called') }, schemaOf(strict)),
  'that answers later': schemaOf(async (value) => await new Promise((resolve) => setImmediate(() => resolve(strict(value))))),
  'that answers with no promise of ours': schemaOf((value) => ({ then: (resolve: (result: unknown) => void) => { resolve(strict(value)) } })),
  'whose members are inherited': Object.create({ '~standard': new (class { version = 1; validate (value: unknown) { return this.version === 1 && strict(value) } })() })
}

for (const [name, schema] of Object.entries(MAKES)) {
  t.test(`a schema ${name} says what verify, account, onLogin and hooks get`, async (t) => {
    const got: unknown[] = []
    const { app, ada, verified } = await open(t, schema, {
      options: {
        account: (credentials) => { got.push(credentials); return credentials.email as string },
        onLogin: (_user, credentials) => { got.push(credentials); return undefined }
      },
      prepare: (app) => { app.addHook('preHandler', async ({ body }) => { got.push(body) }) }
    })
    const expected = { email: 'ada@example.com', password: PASSWORD, extra: 1 }
    t.strictSame((await ada.post('/login', { ...RIGHT, extra: 1 })).json().user, { id: 'ada' })
    t.strictSame([...verified, ...got], [expected, expected, expected, expected])
    t.equal((await app.inject({ method: 'POST', url: '/token', payload: RIGHT })).statusCode, 200)
    for (const url of ['/login', '/token']) {
      t.equal((await app.inject({ method: 'POST', url, payload: WRONG })).statusCode, 401)
      const refused = await app.inject({ method: 'POST', url, payload: { password: 5 } })
      t.strictSame(refused.json(), { statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request', message: 'body/email must fit the schema, body/password must fit the schema' })
      t.equal(refused.headers['cache-control'], 'no-store')
    }
    t.equal(verified.length, 4, 'what does not fit is not verified')
    t.strictSame(warnings(app), [])
  })
}

t.test('requests at the same time get each their own credentials', async (t) => {
  const waiting: Array<() => void> = []
  const { app } = await open(t, schemaOf(async (value) => {
    await new Promise<void>((resolve) => { if (waiting.push(resolve) === 3) waiting.reverse().forEach((go) => { go() }) })
    return { value }
  }), { options: { verify: ({ name }) => ({ id: name as string }), account: () => null } })
  const replies = await Promise.all(['ada', 'bob', 'eve'].map(async (name) => await app.inject({ method: 'POST', url: '/login', payload: { name } })))
  t.strictSame(replies.map((reply) => reply.json().user.id), ['ada', 'bob', 'eve'])
})

t.test('nobody is verified before the schema has answered', async (t) => {
  let answer: (result: unknown) => void = () => {}
  const asked = new Promise<void>((resolve) => {
    answer = () => { resolve() }
  })
  let settle: (result: unknown) => void = () => {}
  const { ada, verified } = await open(t, schemaOf(async () => {
    answer(null)
    return await new Promise((resolve) => { settle = resolve })
  }), { options: { account: () => null } })
  const login = ada.post('/login', RIGHT)
  await asked
  t.strictSame(verified, [])
  settle({ issues: [{ message: 'no' }] })
  t.equal((await login).statusCode, 400)
  t.strictSame(verified, [])
})

t.test('an error handler finds the places, and the body as it was sent', async (t) => {
  const caught: Array<Pick<FastifyError, 'code' | 'statusCode' | 'validation' | 'validationContext'> & { body: unknown }> = []
  const { ada } = await open(t, schemaOf(strict), {
    options: { account: () => null },
    prepare: (app) => {
      app.setErrorHandler<FastifyError>(async ({ code, statusCode, validation, validationContext }, { body }, reply) => {
        caught.push({ code, statusCode, validation, validationContext, body } as typeof caught[number])
        return await reply.code(422).send('the form again')
      })
    }
  })
  t.equal((await ada.post('/login', { email: 'Ada@' })).statusCode, 422)
  const at = { instancePath: '/password', keyword: 'schema', schemaPath: '#', params: {}, message: 'must fit the schema' }
  t.strictSame(caught, [{ code: 'FST_ERR_VALIDATION', statusCode: 400, validation: [at], validationContext: 'body', body: { email: 'Ada@' } }])
})

/** What a schema may do in place of its work, and what comes of it. */
const FAILURES: Record<string, [validate: Validate, message: string]> = {}
const THREW = 'the credentials schema threw an error, or returned no result of Standard Schema'
const NO_OBJECT = 'what the credentials schema returns must be an object'
const secretOf = (value: unknown) => String((value as Credentials).password)
for (const [name, thrown] of Object.entries<Validate>({
  'an error that repeats the password': (value) => Object.assign(new Error(`no: ${secretOf(value)}`), { statusCode: 400, code: secretOf(value), name: secretOf(value), cause: new Error(secretOf(value)), value }),
  'an error of many lines': (value) => new Error(`no:\n    at ${secretOf(value)}\n${secretOf(value)}`),
  'an error whose stack throws': (value) => Object.defineProperty(new Error('no'), 'stack', { get: () => { throw new Error(secretOf(value)) } }),
  'an error whose stack is something else': (value) => ({ stack: { toString: () => secretOf(value) } }),
  'no error': secretOf,
  nothing: () => undefined,
  'a status': () => 404
})) {
  FAILURES[`throws ${name}`] = [(value) => { throw thrown(value) }, THREW]
  FAILURES[`rejects with ${name}`] = [async (value) => { throw thrown(value) }, THREW]
}
for (const result of [undefined, null]) FAILURES[`returns ${result}`] = [() => result, THREW]
for (const issues of [null, true, 1, {}, [null], [{ path: 5 }], [{ path: [null] }], [{ path: [{ key: { toString: null } }] }]]) FAILURES[`has issues ${JSON.stringify(issues)}`] = [(value) => ({ issues, value }), THREW]
FAILURES['has issues that cannot be read'] = [(value) => ({ value, get issues () { throw new Error(secretOf(value)) } }), THREW]
FAILURES['has a value that cannot be read'] = [(value) => ({ get value () { throw new Error(secretOf(value)) } }), THREW]
for (const result of [{}, 'x', true, [], { value: null }, { value: 'LEAKED' }, { value: 5 }, { value: [WRONG] }, { value: Promise.resolve(WRONG) }, { value: () => WRONG }]) FAILURES[`gives no object: ${typeof result} ${JSON.stringify(result)}`] = [() => result, NO_OBJECT]
FAILURES['gives the text of the body'] = [(value) => ({ value: JSON.stringify(value) }), NO_OBJECT]

t.test('a schema that fails is a 500, counts for nothing, and shows nothing of the credentials', async (t) => {
  for (const [name, [validate, message]] of Object.entries(FAILURES)) {
    let fails = true
    const attempts = { network: { max: 1, within: '1h' } }
    const { ada, app, verified, logged } = await open(t, schemaOf((value) => fails ? validate(value) : strict(value)), { options: { attempts, account: ({ email }) => email as string } })
    for (const url of ['/login', '/token', '/login']) {
      const reply = await ada.post(url, WRONG)
      t.strictSame(reply.json(), { statusCode: 500, error: 'Internal Server Error', message }, name)
      t.strictSame(reply.setCookies, [])
    }
    t.strictSame(verified, [])
    t.notMatch(logged(), WRONG.password, name)
    t.notMatch(logged(), 'LEAKED')
    t.ok(app.lines.some(({ level, msg }) => level === 50 && msg === message), 'the log tells of it')
    fails = false
    t.equal((await ada.post('/login', WRONG)).statusCode, 401, 'this is the first that counts')
    t.equal((await ada.post('/login', RIGHT)).statusCode, 429)
  }
})

t.test('the log says where a schema threw', async (t) => {
  const { ada, app } = await open(t, schemaOf(function lookUp () { throw new TypeError('LEAKED') }), { options: { account: () => null } })
  await ada.post('/login', WRONG)
  const { err } = app.lines.find(({ level }) => level === 50) as unknown as { err: { stack: string } }
  t.match(err.stack, /^TypeError: the credentials schema threw [^\n]+\n {4}at [^\n]*lookUp [^\n]*credentials-schema\.test\.ts/)
})

t.test('what does not fit is named by its place, and never by what was typed in', async (t) => {
  const PLACES: Array<[issues: unknown[], message: string]> = [
    [[], 'body must fit the schema'],
    [[{ message: WRONG.password }], 'body must fit the schema'],
    [[{ message: '', path: undefined }, { path: [] }], 'body must fit the schema'],
    [[{ path: ['a'] }, { path: ['a'] }, { path: ['b', 0] }], 'body/a must fit the schema, body/b/0 must fit the schema'],
    [[{ path: [{ key: 'a/b' }, Symbol('s'), '~'] }], 'body/a~1b/Symbol(s)/~0 must fit the schema'],
    [Array.from({ length: 100_000 }, (_, index) => ({ path: [index] })), Array.from({ length: 10 }, (_, index) => `body/${index} must fit the schema`).join(', ')],
    [[{ path: ['x'.repeat(100_000)] }], `body/${'x'.repeat(199)} must fit the schema`]
  ]
  for (const [issues, message] of PLACES) {
    // A value beside issues is none.
    const { ada, verified, logged } = await open(t, schemaOf((value) => ({ issues, value, message: WRONG.password })), { options: { account: () => null } })
    t.strictSame((await ada.post('/login', WRONG)).json(), { statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request', message })
    t.strictSame(verified, [])
    t.notMatch(logged(), WRONG.password)
  }
})

t.test('the limits on failed logins hold, by the name that the schema gives out', async (t) => {
  const { app, ada, verified } = await open(t, schemaOf(strict), { options: { account: ({ email }) => email as string, attempts: { accountNetwork: { max: 3, within: '1h' }, network: false } } })
  for (let request = 0; request < 5; request++) t.equal((await ada.post('/login', { email: 5 })).statusCode, 400, 'what does not fit is no try')
  const tries = ['ada@example.com', ' ADA@example.com', 'Ada@Example.Com ', 'ada@example.com'].map(async (email) => (await ada.post('/login', { ...WRONG, email })).statusCode)
  t.strictSame((await Promise.all(tries)).sort(), [401, 401, 401, 429])
  t.equal((await ada.post('/login', RIGHT)).statusCode, 429)
  t.equal((await app.inject({ method: 'POST', url: '/token', payload: RIGHT })).statusCode, 429)
  t.equal((await ada.post('/login', { ...RIGHT, email: 'bob@example.com' })).statusCode, 401, 'another account')
  t.equal(verified.length, 4)
})

/** A schema that describes what comes out of it. */
const describing = (properties: object, validate = strict) => schemaOf(validate, { jsonSchema: { input: () => ({}), output: () => ({ type: 'object', properties }) } })
const limits = { accountNetwork: { max: 1, within: '1h' }, network: false } as const

t.test('without account, logins are limited by the username that comes out', async (t) => {
  const named: Validate = (value) => ({ value: { ...value as object, username: (value as Credentials).email } })
  for (const schema of [schemaOf(named), describing({ username: {} }, named)]) {
    const { app, ada } = await open(t, schema, { options: { attempts: limits } })
    t.equal((await ada.post('/login', WRONG)).statusCode, 401)
    t.equal((await ada.post('/login', WRONG)).statusCode, 429)
    t.equal((await ada.post('/login', { ...WRONG, email: 'bob' })).statusCode, 401)
    t.strictSame(warnings(app), [])
  }
  const { ada } = await open(t, describing({ email: {} }), { options: { attempts: limits } })
  for (const username of ['x', 'x', {}, ['x'], null]) t.equal((await ada.post('/login', { ...WRONG, username })).statusCode, 401, 'one that the schema does not declare is the client\'s word')
})

t.test('where credentials name no account, one warning says so, as soon as it is known', async (t) => {
  const boot = await open(t, describing({ email: {} }))
  t.strictSame(warnings(boot.app), [BY_NETWORK_ONLY])
  const later = await open(t, schemaOf(strict))
  t.strictSame(warnings(later.app), [])
  for (const { ada } of [boot, later, later]) await ada.post('/login', WRONG)
  t.strictSame([boot, later].map(({ app }) => warnings(app)), [[BY_NETWORK_ONLY], [BY_NETWORK_ONLY]])
  for (const options of [{ account: () => null }, { attempts: false as const }]) {
    const { app, ada } = await open(t, schemaOf(strict), { options })
    await ada.post('/login', WRONG)
    t.strictSame(warnings(app), [])
  }
})

t.test('remember counts if it comes out of the schema', async (t) => {
  const lasts = async (schema: unknown, payload: object) => /max-age/i.test((await (await open(t, schema, { options: { account: () => null } })).ada.post('/login', { ...RIGHT, ...payload })).setCookies[0] ?? '')
  t.equal(await lasts(schemaOf(strict), { remember: true }), true)
  t.equal(await lasts(schemaOf(strict), { remember: 'on' }), true)
  t.equal(await lasts(schemaOf(strict), { remember: false }), false)
  t.equal(await lasts(describing({ remember: {} }), { remember: false }), false)
  const without = await lasts(schemaOf(strict), {})
  t.equal(without, true, 'no word of it, and the cookie is as it is by default')
  const never: Validate = (value) => ({ value: { email: 'ada@example.com', password: (value as Credentials).password } })
  t.equal(await lasts(schemaOf(never), { remember: false }), without, 'it was dropped')
  t.equal(await lasts(describing({ email: {} }), { remember: false }), without, 'it was passed on, but is not declared')
  const inherited: Validate = (value) => ({ value: Object.assign(Object.create({ remember: false }), { email: 'ada@example.com', password: (value as Credentials).password }) })
  t.equal(await lasts(schemaOf(inherited), {}), without, 'it is no member of its own')
})

t.test('what comes out may be an object of any kind', async (t) => {
  class Login {
    readonly #given: Credentials
    constructor (given: Credentials) { this.#given = given }
    get email () { return String(this.#given.email).trim().toLowerCase() }
    get password () { return this.#given.password }
    // A promise would be waited for, and be something else.
    then (resolve: (other: unknown) => void) { resolve({ email: 'mallory@example.com' }) }
  }
  const outputs: Validate[] = [(value) => new Login(value as Credentials), (value) => Object.freeze({ email: 'ada@example.com', password: (value as Credentials).password }), (value) => Object.assign(Object.create(null), { email: 'ada@example.com', password: (value as Credentials).password })]
  for (const output of outputs) {
    const { ada, verified } = await open(t, schemaOf((value) => ({ value: output(value) })), { options: { account: ({ email }) => email as string } })
    t.strictSame((await ada.post('/login', RIGHT)).json().user, { id: 'ada' })
    t.equal(verified.length, 1)
  }
})

t.test('bodies that no schema expects are its own affair, and never more than a 4xx or 500', async (t) => {
  const depth = (value: unknown): number => typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0
  const deep: Validate = (value) => depth(value) > 3 ? { issues: [{ message: 'too deep' }] } : strict(value)
  const { app, verified, logged } = await open(t, schemaOf(deep), { options: { account: () => null }, prepare: async (app) => { await app.register(formbody) } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as { port: number }
  const send = async (type: string, body: string) => {
    const head = `POST /login HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
    return await exchange(port, Buffer.from(head + body))
  }
  const JSON_TYPE = 'application/json'
  const bodies: Array<[type: string, body: string, status: number]> = [
    [JSON_TYPE, `${'[{"a":'.repeat(50_000)}"${WRONG.password}"${'}]'.repeat(50_000)}`, 500],
    [JSON_TYPE, `{"a":{"b":{"c":{"d":"${WRONG.password}"}}}}`, 400],
    [JSON_TYPE, `{"__proto__":{"email":"ada@example.com","password":"${WRONG.password}"}}`, 400],
    [JSON_TYPE, `{"constructor":{"prototype":{"password":"${WRONG.password}"}}}`, 400],
    [JSON_TYPE, `"${WRONG.password}"`, 400],
    [JSON_TYPE, 'null', 400],
    [JSON_TYPE, '', 400],
    ['text/plain', WRONG.password, 400],
    ['application/x-www-form-urlencoded', `email=ada@example.com&password=${PASSWORD}&__proto__=1`, 200],
    ['application/x-www-form-urlencoded', `__proto__=1&password=${WRONG.password}`, 400]
  ]
  for (const [type, body, status] of bodies) {
    const reply = await send(type, body)
    t.equal(reply.status, status, `${type} ${body.slice(0, 80)}`)
    t.notMatch(reply.head + reply.body, WRONG.password)
  }
  t.equal(verified.length, 1)
  t.notMatch(logged(), WRONG.password)
})

t.test('a key __proto__ that a server lets through goes no further than the schema', async (t) => {
  const { app, ada } = await open(t, schemaOf((value) => ({ value: { ...value as object } })), { options: { account: () => null }, server: { onProtoPoisoning: 'ignore' } })
  const reply = await ada.post('/login', `{"__proto__":{"email":"ada@example.com","password":"${PASSWORD}","remember":true},"email":"eve"}`, { headers: { 'content-type': 'application/json' } })
  t.equal(reply.statusCode, 401)
  t.equal('remember' in {}, false)
  t.ok(app)
})

t.test('a form that does not fit, and one whose schema fails, is sent to the page of failures', async (t) => {
  const failing: Validate = (value) => { throw new Error(secretOf(value)) }
  for (const [validate, code] of [[strict, 'bad_request'], [failing, 'server_error']] as const) {
    const { ada, logged } = await open(t, schemaOf(validate), { options: { account: () => null, redirects: { failure: '/sign-in' } }, prepare: async (app) => { await app.register(formbody) } })
    const reply = await ada.post('/login', `password=${WRONG.password}`, { headers: { 'content-type': 'application/x-www-form-urlencoded' } })
    t.strictSame([reply.statusCode, reply.headers.location], [303, `/sign-in?error=${code}`])
    t.notMatch(reply.body + logged(), WRONG.password)
  }
})

t.test('it is the same in an application with validation of its own', async (t) => {
  const custom: Setting[] = [
    { prepare: (app) => { app.setValidatorCompiler(() => () => ({ error: new Error('not ours') })) } },
    { server: { ajv: { mode: 'JTD' } } as unknown as FastifyServerOptions },
    { server: { schemaController: { compilersFactory: { buildValidator: () => () => () => false } } } as unknown as FastifyServerOptions }
  ]
  for (const each of custom) {
    for (const more of [{}, { jsonSchema: { input: () => ({ type: 'object', required: ['other'] }), output: () => ({}) } }]) {
      const { ada } = await open(t, schemaOf(strict, more), { ...each, options: { account: () => null } })
      t.equal((await ada.post('/login', RIGHT)).statusCode, 200)
      t.equal((await ada.post('/login', {})).statusCode, 400)
    }
  }
})

t.test('a schema that describes itself is shown, and still checks the body itself', async (t) => {
  const asked: unknown[] = []
  const described = { $schema: 'http://json-schema.org/draft-07/schema#', type: 'object', properties: { code: { type: 'string', description: 'The code.' } }, required: ['code'] }
  const shows: Array<[jsonSchema: unknown, shown: object | undefined]> = [
    [{ input: (options: unknown) => { asked.push(options); return described }, output: () => { throw new Error('not this one') } }, { type: 'object', properties: described.properties, required: ['code'] }],
    [{ input: () => ({ ...described, properties: { code: { $ref: '#/definitions/Code' } }, definitions: { Code: { type: 'string' } } }), output: () => ({}) }, {}],
    [undefined, {}],
    [{ input: () => { throw new Error('not this one') } }, {}],
    [{ input: () => 'LEAKED', output: () => [] }, {}]
  ]
  for (const [jsonSchema, shown] of shows) {
    const { app, ada } = await open(t, schemaOf(strict, { jsonSchema }), {
      options: { account: () => null },
      prepare: async (app) => { await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } }) }
    })
    t.equal((await ada.post('/login', RIGHT)).statusCode, 200)
    const { paths } = app.swagger() as unknown as { paths: Record<string, { post: { requestBody?: { content: Record<string, { schema: object }> } } }> }
    for (const url of ['/login', '/token']) {
      const schema = paths[url]?.post.requestBody?.content['application/json']?.schema
      t.match(schema, shown)
      t.strictSame(Object.keys(schema ?? {}).filter((key) => key !== '$schema'), Object.keys(shown ?? {}))
    }
  }
  t.strictSame(asked, [{ target: 'draft-07' }])
})
