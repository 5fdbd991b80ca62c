import formbody from '@fastify/formbody'
import swagger from '@fastify/swagger'
import { type } from 'arktype'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import * as v from 'valibot'
import { z } from 'zod'
import * as mini from 'zod/mini'
import { z as z3 } from 'zod/v3'
import { authRoutes, authRoutesOptions } from '../../lib/index.ts'
import type { AuthRoutesOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

/* `credentials` of Zod, Valibot and ArkType. What a schema may do wrong: test/http/credentials-schema.test.ts. */

const redis = await startRedis(t)

interface Login { email: string, code: number, remember?: boolean | undefined }

/** Fits type A if it is the same as B. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const is = <A>() => <B>(_value: B, _same: Same<A, B>): void => {}

/** The same credentials: an e-mail address in small letters, and a number that a form sends as text. */
const ofZod = z.object({
  email: z.string().max(64).trim().toLowerCase().pipe(z.email('Not LEAKED')),
  code: z.coerce.number().int().max(999_999),
  remember: z.boolean().optional()
})
const ofValibot = v.object({
  email: v.pipe(v.string(), v.maxLength(64), v.trim(), v.toLowerCase(), v.email()),
  code: v.pipe(v.union([v.string(), v.number()]), v.transform(Number), v.integer(), v.maxValue(999_999)),
  remember: v.optional(v.boolean())
})
const ofArkType = type({
  email: 'string <= 64',
  code: type('string.integer.parse | number.integer').to('number <= 999999'),
  'remember?': 'boolean'
}).pipe(({ email, ...rest }) => ({ ...rest, email: email.trim().toLowerCase() })).to({ email: 'string.email', code: 'number', 'remember?': 'boolean', '+': 'delete' })

/** The same, each looking something up before it answers. */
const later = async (code: number): Promise<boolean> => await new Promise((resolve) => setImmediate(() => resolve(code !== 666)))
const LATER = {
  Zod: ofZod.refine(async ({ code }) => await later(code)),
  Valibot: v.pipeAsync(ofValibot, v.checkAsync(async ({ code }) => await later(code)))
}

const check = ({ email, code }: { email: string, code: number }) => email === 'ada@example.com' && code === 123456 ? { id: 'ada' } : null
const RIGHT = { email: ' Ada@Example.com', code: '123456' }

async function open (t: Test, options: AuthRoutesOptions, prepare: (app: FastifyInstance) => unknown = () => {}) {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), bearer: true })
  await app.register(formbody)
  await prepare(app)
  await app.register(authRoutes, options)
  return { app, ada: new Browser(app), logged: () => JSON.stringify(app.lines) }
}

/** Options with each schema, and the credentials that `verify` got. */
const verified: Login[] = []
const note = (login: Login) => {
  verified.push(login)
  return check(login)
}
const attempts = { accountNetwork: { max: 3, within: '1h' }, network: false, account: false } as const
const common = { attempts, account: ({ email }: Login) => email }
const OPTIONS: Record<string, AuthRoutesOptions> = {
  Zod: authRoutesOptions({ credentials: ofZod, verify: note, ...common }),
  Valibot: authRoutesOptions({ credentials: ofValibot, verify: note, ...common }),
  ArkType: authRoutesOptions({ credentials: ofArkType, verify: note, ...common })
}

for (const [name, options] of Object.entries(OPTIONS)) {
  t.test(`credentials of ${name} sign in with what the schema makes of them`, async (t) => {
    const { app, ada } = await open(t, options)
    verified.length = 0
    t.strictSame((await ada.post('/login', { ...RIGHT, admin: true })).json().user, { id: 'ada' })
    t.equal((await ada.get('/info')).json().authenticated, true)
    t.equal((await app.inject({ method: 'POST', url: '/token', payload: RIGHT })).statusCode, 200)
    const form = await app.inject({ method: 'POST', url: '/login', payload: 'email=ADA%40example.com&code=123456', headers: { 'content-type': 'application/x-www-form-urlencoded' } })
    t.equal(form.statusCode, 200)
    t.strictSame(verified.map((login) => ({ ...login })), Array(3).fill({ email: 'ada@example.com', code: 123456 }))
    const short = await new Browser(app).post('/login', { ...RIGHT, remember: false })
    t.notMatch(short.setCookies[0], /max-age/i)
  })

  t.test(`what does not fit a schema of ${name} is named, and neither shown nor logged`, async (t) => {
    const { ada, logged } = await open(t, options)
    verified.length = 0
    const LEAKED = 'LEAKED-x1'
    const REFUSED: Array<[body: unknown, places: string[]]> = [
      [{ email: LEAKED, code: 1 }, ['/email']],
      [{ email: 'ada@example.com', code: LEAKED }, ['/code']],
      [{ email: { LEAKED }, code: '1' }, ['/email']],
      [{ email: LEAKED.repeat(10), code: 1 }, ['/email']],
      [{ code: 1, LEAKED }, ['/email']],
      [{ email: 'ada@example.com', code: 1, remember: LEAKED }, ['/remember']],
      [[LEAKED], ['', '/email', '/code']]
    ]
    for (const [body, places] of REFUSED) {
      const reply = await ada.post('/login', body as object)
      const { message, ...rest } = reply.json()
      t.strictSame(rest, { statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request' })
      const named = (message as string).split(', ').map((part) => /^body(.*) must fit the schema$/.exec(part)?.[1] ?? message)
      t.strictSame(named.filter((place) => !places.includes(place)), [], `${name}: ${message}`)
      t.notMatch(reply.body, 'LEAKED')
    }
    t.strictSame(verified, [])
    t.notMatch(logged(), 'LEAKED')
    for (let wrong = 0; wrong < 3; wrong++) t.equal((await ada.post('/login', { ...RIGHT, code: wrong })).statusCode, 401)
    t.equal((await ada.post('/login', RIGHT)).statusCode, 429, 'they counted for nothing, and wrong codes did')
  })
}

const ofCode = { account: () => null, verify: ({ code }: Login) => code > 0 ? { id: 'ada' } : null }
for (const [name, options] of Object.entries({
  Zod: authRoutesOptions({ credentials: LATER.Zod, ...ofCode }),
  Valibot: authRoutesOptions({ credentials: LATER.Valibot, ...ofCode })
})) {
  t.test(`a schema of ${name} that answers later is waited for`, async (t) => {
    const { ada } = await open(t, options)
    t.equal((await ada.post('/login', { ...RIGHT, code: 666 })).statusCode, 400)
    t.equal((await ada.post('/login', { ...RIGHT, email: 'x' })).statusCode, 400)
    t.strictSame((await ada.post('/login', RIGHT)).json().user, { id: 'ada' })
  })
}

t.test('an asynchronous check runs once, and ends no process if it fails', async (t) => {
  let calls = 0
  const failing = async (): Promise<boolean> => {
    calls++
    throw new Error('no database: LEAKED')
  }
  const checking = [
    z.object({ code: z.string().refine(failing) }), mini.object({ code: mini.string().check(mini.refine(failing)) }), z3.object({ code: z3.string().refine(failing) }),
    v.objectAsync({ code: v.pipeAsync(v.string(), v.checkAsync(failing)) })
  ]
  for (const credentials of checking) {
    calls = 0
    const { ada, logged } = await open(t, { credentials, account: () => null, verify: () => ({ id: 'ada' }) })
    const reply = await ada.post('/login', { code: 'LEAKED' })
    t.equal(reply.statusCode, 500)
    t.equal(calls, 1)
    t.notMatch(reply.body + logged(), 'LEAKED')
  }
})

t.test('a transformation that throws shows nothing of the credentials', async (t) => {
  const fail = ({ code }: { code: string }): { code: string } => { throw new Error(`cannot look up ${code}`) }
  const credentials = [
    z.object({ code: z.string() }).transform(fail), z.object({ code: z.string() }).transform(async (given) => fail(given)),
    v.pipe(v.object({ code: v.string() }), v.transform(fail)), type({ code: 'string' }).pipe(fail)
  ]
  for (const each of credentials) {
    const { ada, logged } = await open(t, { credentials: each, account: () => null, verify: () => ({ id: 'ada' }) })
    const reply = await ada.post('/login', { code: 'LEAKED' })
    t.equal(reply.statusCode, 500)
    t.notMatch(reply.body + logged(), 'LEAKED')
    t.match(logged(), /schemas\.test\.ts/, 'the log says where')
  }
})

/** Credentials without a username, by schemas that can or cannot tell. */
const NAMELESS = {
  Zod: z.object({ pin: z.string() }), 'Zod, passing on all': z.looseObject({ pin: z.string() }), Valibot: v.object({ pin: v.string() }), ArkType: type({ pin: 'string' })
}

t.test('what a schema does not declare does not count', async (t) => {
  for (const [name, credentials] of Object.entries(NAMELESS)) {
    const { ada } = await open(t, { credentials, verify: () => ({ id: 'ada' }) })
    const login = await ada.post('/login', { pin: '1', username: 'bob', remember: false })
    t.match(login.setCookies[0], /max-age/i, `${name}: remember`)
    const limited = await open(t, { credentials, attempts: { ...attempts, accountNetwork: { max: 1, within: '1h' } }, verify: () => null })
    for (const username of ['bob', 'bob']) t.equal((await limited.ada.post('/login', { pin: '1', username })).statusCode, 401, `${name}: username`)
    t.equal(limited.app.lines.filter(({ msg }) => msg.includes('limited by network only')).length, 1, name)
  }
})

t.test('the username that a schema declares is the account', async (t) => {
  for (const credentials of [z.object({ username: z.string() }), v.object({ username: v.string() }), type({ username: 'string' }), z.object({ name: z.string() }).transform(({ name }) => ({ username: name }))]) {
    const { app, ada } = await open(t, { credentials, attempts: { ...attempts, accountNetwork: { max: 1, within: '1h' } }, verify: () => null })
    const tries = [{ username: 'ada', name: 'ada' }, { username: 'ADA', name: 'ADA' }, { username: 'bob', name: 'bob' }]
    const statuses: number[] = []
    for (const body of tries) statuses.push((await ada.post('/login', body)).statusCode)
    t.strictSame(statuses, [401, 429, 401])
    t.strictSame(app.lines.filter(({ msg }) => msg.includes('limited by network only')), [])
  }
})

t.test('@fastify/swagger shows what describes itself', async (t) => {
  const shown: unknown[] = []
  for (const openapi of ['3.0.3', '3.1.0']) {
    for (const credentials of [z.object({ pin: z.string().describe('The PIN.').transform(Number) }), type({ pin: 'string' }), v.object({ pin: v.string() }), z.object({ pin: z.string() }).meta({ id: 'Pin' })]) {
      const { app } = await open(t, { credentials, account: () => null, verify: () => null }, async (app) => { await app.register(swagger, { openapi: { openapi, info: { title: 'test', version: '1' } } }) })
      await app.ready()
      const { paths } = app.swagger() as unknown as { paths: Record<string, { post: { requestBody: { content: Record<string, { schema: { properties?: unknown } }> } } }> }
      for (const path of ['/login', '/token']) shown.push(paths[path]?.post.requestBody.content['application/json']?.schema.properties)
    }
  }
  const each = [{ pin: { type: 'string', description: 'The PIN.' } }, { pin: { type: 'string' } }, undefined, undefined].flatMap((properties) => [properties, properties])
  t.strictSame(shown, [...each, ...each])
})

t.test('what may be shown, and what is kept, cannot be said by such a schema', async (t) => {
  for (const schema of [z.object({ id: z.string() }), v.object({ id: v.string() }), type({ id: 'string' })] as never[]) {
    await t.rejects(open(t, { user: schema, findUser: (id) => ({ id }), verify: () => null }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /authRoutes: user must be a TypeBox object schema: it declares what replies may show$/ })
    await t.rejects(startApp(t, { sessionSchema: schema }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /sessionSchema must be a Type.Object\(…\) of @sinclair\/typebox: it declares which data is kept$/ })
  }
})

/** Compiled, never run: what TypeScript knows of the credentials. */
export function types (): void {
  authRoutesOptions({
    credentials: ofZod,
    verify: async ({ email, code, remember }) => {
      is<string>()(email, true)
      is<number>()(code, true)
      is<boolean | undefined>()(remember, true)
      return { id: email, name: 'Ada' }
    },
    account: ({ email }) => email,
    onLogin: ({ name }, { code }) => ({ label: name, meta: { code } })
  })
  authRoutesOptions({
    credentials: LATER.Valibot,
    verify: ({ email, code, remember }) => {
      is<string>()(email, true)
      is<number>()(code, true)
      is<boolean | undefined>()(remember, true)
      return null
    }
  })
  authRoutesOptions({
    credentials: ofArkType,
    verify: ({ email, code, remember }) => {
      is<string>()(email, true)
      is<number>()(code, true)
      is<boolean | undefined>()(remember, true)
      return null
    }
  })
  authRoutesOptions({ credentials: z.union([z.object({ email: z.string() }), z.object({ phone: z.string() })]), verify: (given) => ({ id: 'email' in given ? given.email : given.phone }) })
  // @ts-expect-error there is no such member
  authRoutesOptions({ credentials: ofZod, verify: ({ username }) => ({ id: username }) })
  // @ts-expect-error a user has an id
  authRoutesOptions({ credentials: ofZod, verify: ({ email }) => ({ name: email }) })
  // @ts-expect-error credentials are an object
  authRoutesOptions({ credentials: z.string(), verify: () => null })
  // @ts-expect-error it does not declare what may be shown
  authRoutesOptions({ user: ofZod, verify: () => null, findUser: () => null })
}
