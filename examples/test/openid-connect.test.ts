import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import type { JWTPayload } from 'jose'
import { test } from 'tap'
import type { Test } from 'tap'
import { startProvider } from '../openid-connect/provider.ts'
import { buildApp } from '../openid-connect/server.ts'
import { secret } from '../../test/helpers/app.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const CLIENT = { clientId: 'example', clientSecret: 'a secret of this test' }

interface Page { url: string, status: number, body: string }

/** A person's browser: keeps cookies (all servers are on one host), and follows redirects. */
class Browser {
  readonly #cookies = new Map<string, string>()

  async open (url: string, body?: URLSearchParams): Promise<Page> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { redirect: 'manual', headers: { cookie }, ...body !== undefined && { method: 'POST', body } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    const location = response.headers.get('location')
    const text = await response.text()
    return location === null ? { url, status: response.status, body: text } : await this.open(new URL(location, url).href)
  }

  /** Sends the form of a page, with what it says and what the person typed in. */
  async submit (page: Page, fields: Record<string, string> = {}): Promise<Page> {
    const [, action = ''] = /<form[^>]*action="([^"]*)"/.exec(page.body) ?? []
    const hidden = [...page.body.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)]
    const given = Object.fromEntries(hidden.map(([, name = '', value = '']) => [name, value]))
    return await this.open(new URL(action, page.url).href, new URLSearchParams({ ...given, ...fields }))
  }

  /** Signs in at the provider, where that asks for it. */
  async signIn (appUrl: string, login: string): Promise<Page> {
    const asked = await this.open(`${appUrl}/login`)
    return await this.submit(await this.submit(asked, { login, password: 'any' }))
  }
}

/** The application and a real provider. */
async function startBoth (t: Test, redis?: string): Promise<{ app: FastifyInstance, url: string, issuer: string }> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const { issuer, close } = await startProvider({ appUrl: url, ...CLIENT })
  t.teardown(close)
  const app = await buildApp({ url, issuer, redis, secret, ...CLIENT })
  t.teardown(async () => { await app.close() })
  await app.listen({ host: '127.0.0.1', port })
  return { app, url, issuer }
}

test('when ada signs out at the provider, she is signed out of the application, and bob is not', async (t) => {
  const redis = await startRedis(t)
  const { app, url, issuer } = await startBoth(t, redis.url)
  const [ada, elsewhere, bob] = [new Browser(), new Browser(), new Browser()]
  t.match(await ada.signIn(url, 'ada'), { url: `${url}/`, body: /signed in as ada/ })
  t.match(await elsewhere.signIn(url, 'ada'), { body: /signed in as ada/ })
  t.match(await bob.signIn(url, 'bob'), { body: /signed in as bob/ })
  t.match((await app.sessions.listByUser('ada')).map(({ idp }) => idp), [{ issuer, sid: /./ }, { issuer, sid: /./ }])

  await ada.submit(await ada.open(`${issuer}/session/end`), { logout: 'yes' })
  await until('the provider to have called', async () => (await app.sessions.listByUser('ada')).length === 1)
  t.match(await ada.open(url), { body: /Sign in/ })
  t.match(await elsewhere.open(url), { body: /signed in as ada/ }, 'her session of another browser at the provider goes on')
  t.match(await bob.open(url), { body: /signed in as bob/ })
})

test('who signs out in the application is signed out at the provider', async (t) => {
  const { app, url } = await startBoth(t)
  const ada = new Browser()
  const home = await ada.signIn(url, 'ada')
  const asked = await ada.submit(home)
  t.strictSame(await app.sessions.listByUser('ada'), [])
  t.match(await ada.submit(asked, { logout: 'yes' }), { url: `${url}/`, body: /Sign in/ })
  t.match(await ada.open(`${url}/login`), { body: /name="password"/ }, 'the provider asks who it is')
})

test('a callback that nobody here asked for signs nobody in', async (t) => {
  const { app, url } = await startBoth(t)
  const mallory = new Browser()
  t.match(await mallory.open(`${url}/callback?code=stolen&state=guessed`), { url: `${url}/`, body: /Sign in/ })
  await mallory.open(`${url}/login`)
  t.match(await mallory.open(`${url}/callback?code=stolen&state=guessed`), { url: `${url}/`, body: /Sign in/ })
  const all = []
  for await (const session of app.sessions.listAll()) all.push(session)
  t.strictSame(all, [])
})

interface Signed { key: CryptoKey, header: Record<string, string>, claims: { [Name in keyof JWTPayload]?: JWTPayload[Name] | undefined } }

/** The application, and a provider that is played by this test. */
async function startWithTokens (t: Test, redis?: string) {
  const [{ publicKey, privateKey }, { privateKey: foreignKey }] = [await generateKeyPair('ES256'), await generateKeyPair('ES256')]
  const keys = [{ ...await exportJWK(publicKey), kid: 'first', alg: 'ES256' }]
  const server = createServer((request, response) => {
    const metadata = { issuer, jwks_uri: `${issuer}/jwks`, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token` }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.url === '/jwks' ? { keys } : metadata))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const app = await buildApp({ issuer, redis, secret, ...CLIENT })
  t.teardown(async () => { await app.close() })
  const now = Math.floor(Date.now() / 1000)
  const standard: Signed = {
    key: privateKey,
    header: { typ: 'logout+jwt', kid: 'first', alg: 'ES256' },
    claims: { iss: issuer, aud: CLIENT.clientId, iat: now, exp: now + 120, sid: 'here', events: { [EVENT]: {} } }
  }
  const tokenOf = async ({ key = standard.key, header, claims }: Partial<Signed> = {}): Promise<string> => {
    const payload = defined({ ...standard.claims, jti: crypto.randomUUID(), ...claims })
    return await new SignJWT(payload).setProtectedHeader({ alg: 'ES256', ...standard.header, ...header }).sign(key)
  }
  const post = async (token: string): Promise<{ status: number, error: unknown, cacheControl: unknown }> => {
    const payload = new URLSearchParams({ logout_token: token }).toString()
    const { statusCode, body, headers } = await app.inject({
      method: 'POST', url: '/backchannel-logout', payload, headers: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'cross-site' }
    })
    return { status: statusCode, error: body === '' ? null : JSON.parse(body).error, cacheControl: headers['cache-control'] }
  }
  const lives = async (): Promise<number> => (await app.sessions.listByUser('ada')).length
  return { app, issuer, now, foreignKey, standard, tokenOf, post, lives }
}

/** Returns the claims of a token without those that are undefined. */
function defined (claims: object): JWTPayload {
  // JSON of an object is an object.
  return JSON.parse(JSON.stringify(claims)) as JWTPayload
}

const DONE = { status: 200, error: null, cacheControl: 'no-store' }
const REFUSED = { status: 400, error: 'invalid_request', cacheControl: 'no-store' }

test('a logout token that is forged, old, or no logout token ends nothing', async (t) => {
  const { app, issuer, now, foreignKey, standard, tokenOf, post, lives } = await startWithTokens(t)
  await app.sessions.create({ userId: 'ada', idp: { issuer, sid: 'here' } })
  const unsigned = new UnsecuredJWT(defined({ ...standard.claims, jti: 'none' })).encode()
  const bad = {
    'a foreign key': await tokenOf({ key: foreignKey }),
    'alg none': unsigned,
    'alg none with a typ': unsigned.replace(/^[^.]*/, Buffer.from('{"alg":"none","typ":"logout+jwt"}').toString('base64url')),
    'an ID token': await tokenOf({ header: { typ: 'JWT' } }),
    'a nonce': await tokenOf({ claims: { nonce: 'of an ID token' } }),
    'for another application': await tokenOf({ claims: { aud: 'another' } }),
    'of another issuer': await tokenOf({ claims: { iss: 'https://other.example' } }),
    expired: await tokenOf({ claims: { exp: now - 60 } }),
    'too old': await tokenOf({ claims: { iat: now - 3_600 } }),
    'without iat': await tokenOf({ claims: { iat: undefined } }),
    'without exp': await tokenOf({ claims: { exp: undefined } }),
    'without jti': await tokenOf({ claims: { jti: undefined } }),
    'another event': await tokenOf({ claims: { events: { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': {} } } }),
    'an event that is no object': await tokenOf({ claims: { events: { [EVENT]: true } } }),
    'without events': await tokenOf({ claims: { events: undefined } }),
    'events that is a list': await tokenOf({ claims: { events: [EVENT] } }),
    'about nobody': await tokenOf({ claims: { sid: undefined } }),
    'a sid that is no text': await tokenOf({ claims: { sid: 1 } }),
    'a sid that is too long': await tokenOf({ claims: { sid: 's'.repeat(513) } }),
    'no token': 'abc',
    nothing: ''
  }
  for (const [what, token] of Object.entries(bad)) t.strictSame(await post(token), REFUSED, what)
  t.match(await app.inject({ method: 'POST', url: '/backchannel-logout' }), { statusCode: 400 }, 'no body')
  t.equal(await lives(), 1)
  t.strictSame(await post(await tokenOf()), DONE)
  t.equal(await lives(), 0)
})

test('a logout token without a sid ends all sessions of the user, whatever they began with', async (t) => {
  const { app, issuer, tokenOf, post, lives } = await startWithTokens(t)
  await app.sessions.create({ userId: 'ada', idp: { issuer, sid: 'here' } })
  await app.sessions.create({ userId: 'ada' })
  await app.sessions.create({ userId: 'bob' })
  t.strictSame(await post(await tokenOf({ claims: { sid: 'there', sub: 'ada' } })), DONE)
  t.equal(await lives(), 2, 'a sid says which session')
  t.strictSame(await post(await tokenOf({ claims: { sid: undefined, sub: 'ada' } })), DONE)
  t.equal(await lives(), 0)
  t.equal((await app.sessions.listByUser('bob')).length, 1)
})

for (const where of ['Redis', 'memory']) {
  test(`a logout token works once: ${where} remembers it`, async (t) => {
    const redis = where === 'Redis' ? (await startRedis(t)).url : undefined
    const { app, issuer, tokenOf, post, lives } = await startWithTokens(t, redis)
    const token = await tokenOf()
    t.strictSame(await post(token), DONE)
    await app.sessions.create({ userId: 'ada', idp: { issuer, sid: 'here' } })
    t.strictSame(await post(token), REFUSED)
    t.equal(await lives(), 1)
  })
}

test('both programs start as the README says', async (t) => {
  const [appPort, providerPort] = [await freePort(), await freePort()]
  const urls = { APP_URL: `http://127.0.0.1:${appPort}`, ISSUER: `http://127.0.0.1:${providerPort}` }
  const env = { ...urls, NODE_ENV: 'development', REDIS_URL: undefined, SESSION_SECRET: undefined, CLIENT_ID: undefined, CLIENT_SECRET: undefined }
  await startProgram(t, `${root}examples/openid-connect/provider.ts`, providerPort, env)
  await startProgram(t, `${root}examples/openid-connect/server.ts`, appPort, env)
  t.match(await new Browser().signIn(urls.APP_URL, 'ada'), { url: `${urls.APP_URL}/`, body: /signed in as ada/ })
})
