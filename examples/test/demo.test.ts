import { writeFile } from 'node:fs/promises'
import { request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import { BoundBrowser } from '../../test/helpers/bound-browser.ts'
import { selfSigned } from '../../test/helpers/certificate.ts'
import { freePort, root, startCommand, startProgram } from '../../test/helpers/process.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import { codeOf, stepOf } from '../demo/totp.ts'

interface Demo { url: string, stop: (signal: NodeJS.Signals) => Promise<number | null>, output: () => string }

async function startDemo (t: Test, env: NodeJS.ProcessEnv = {}): Promise<Demo> {
  const port = await freePort()
  const program = await startProgram(t, `${root}examples/demo/server.ts`, port, { TSX_TSCONFIG_PATH: `${root}examples/tsconfig.json`, ...env })
  return { url: `http://127.0.0.1:${port}`, ...program }
}

async function login ({ url }: Demo, username: string, password: string): Promise<{ status: number, cookie: string }> {
  const response = await fetch(`${url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password }) })
  return { status: response.status, cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '' }
}

async function me ({ url }: Demo, cookie: string): Promise<{ status: number, name?: string }> {
  const response = await fetch(`${url}/me`, { headers: { cookie } })
  const { name } = await response.json() as { name?: string }
  return { status: response.status, ...name !== undefined && { name } }
}

test('the demo prints the curl lines that sign in, ask and sign out, and stops cleanly', async (t) => {
  const demo = await startDemo(t)
  const lines = demo.output().split('\n').filter((line) => line.includes('curl'))
  t.match(lines, [`${demo.url}/auth/login`, `${demo.url}/me`, `-X POST ${demo.url}/auth/logout`, `${demo.url}/me`])
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const another = await startDemo(t)
    t.equal(await another.stop(signal), 0, signal)
    t.match(another.output(), /Stopped\.\n$/)
  }
})

test('in the demo ada signs in, is recognised and signs out, and her old cookie is refused', async (t) => {
  const demo = await startDemo(t)
  t.equal((await login(demo, 'ada', 'builder')).status, 401)
  t.equal((await login(demo, 'mallory', 'lovelace')).status, 401)
  const { status, cookie } = await login(demo, 'ada', 'lovelace')
  t.equal(status, 200)
  t.same(await me(demo, cookie), { status: 200, name: 'Ada' })
  t.equal((await fetch(`${demo.url}/auth/logout`, { method: 'POST', headers: { cookie } })).status, 204)
  t.same(await me(demo, cookie), { status: 401 })
})

test('two demos on one Redis share sessions, which are there without their secret and gone after logout', async (t) => {
  const redis = await startRedis(t)
  const [one, other] = await Promise.all([startDemo(t, { REDIS_URL: redis.url }), startDemo(t, { REDIS_URL: redis.url })])
  const { cookie } = await login(one, 'bob', 'builder')
  t.same(await me(other, cookie), { status: 200, name: 'Bob' })
  const [key = ''] = await redis.client.keys('sess:*')
  const [, token = ''] = cookie.split('=')
  const [id = '', secret = ''] = token.split('.')
  t.equal(key, `sess:${id}`)
  const everything = await Promise.all((await redis.client.keys('*')).map(async (each) => Buffer.from(await redis.client.dump(each) ?? '').toString('latin1')))
  t.notMatch(everything.join(), secret)
  t.ok(await redis.client.pttl(key) > 0)
  t.equal((await fetch(`${other.url}/auth/logout`, { method: 'POST', headers: { cookie } })).status, 204)
  t.same(await me(one, cookie), { status: 401 })
  t.same((await redis.client.keys('*')).filter((key) => !/^@sess:tries:|:ended$/.test(key)), [], 'but how it ended')
})

test('the codes of the second factor are those of RFC 6238, and hold for their half minute and the next', async (t) => {
  const secret = Buffer.from('12345678901234567890')
  // Its table has eight digits for each of these seconds.
  for (const [seconds, code] of [[59, '94287082'], [1111111109, '07081804'], [20000000000, '65353130']] as const) {
    t.equal(codeOf(secret, Math.floor(seconds / 30)), code.slice(2))
  }
  const before = Math.floor(Date.now() / 30_000)
  t.not(stepOf(secret, codeOf(secret)), null)
  t.ok([null, before - 1].includes(stepOf(secret, codeOf(secret, before - 1))))
  for (const wrong of [codeOf(secret, before - 2), codeOf(secret, before + 3), '', '12345']) t.equal(stepOf(secret, wrong), null)
})

test('the demo shows at /metrics who comes and goes, and an outage; a cookie that is used after its sign-out is one line of its log', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, { REDIS_URL: redis.url })
  const metric = async (name: string): Promise<number> => {
    const line = (await (await fetch(`${demo.url}/metrics`)).text()).split('\n').find((each) => each.startsWith(`fastify_user_sessions_${name} `))
    return Number(line?.split(' ').at(-1))
  }
  const { cookie } = await login(demo, 'ada', 'lovelace')
  t.equal((await login(demo, 'ada', 'builder')).status, 401)
  t.equal((await me(demo, cookie)).status, 200)
  t.equal(await metric('begun_total{kind="cookie",reason="sign-in"}'), 1)
  t.equal(await metric('login_failures_total{reason="credentials"}'), 1)
  t.equal(await metric('store_up'), 1)
  redis.pause()
  await until('the outage', async () => (await me(demo, cookie)).status === 503)
  t.equal(await metric('store_up'), 0)
  t.equal(await metric('store_outages_total'), 1)
  t.ok(await metric('lookups_total{source="store",result="error"}') >= 1)
  t.ok(await metric('store_operation_duration_seconds_count{operation="load",outcome="error"}') >= 1)
  redis.resume()
  await until('service', async () => (await me(demo, cookie)).status === 200)
  t.equal(await metric('store_up'), 1)
  t.equal((await fetch(`${demo.url}/auth/logout`, { method: 'POST', headers: { cookie } })).status, 204)
  t.equal((await me(demo, cookie)).status, 401)
  const critical = (): string[] => demo.output().split('\n').filter((line) => line.includes('session_use_after_expire'))
  await until('the line', () => critical().length > 0)
  t.equal(critical().length, 1)
  t.equal(await metric('uses_after_end_total{kind="cookie"}'), 1)
})

interface Sent { method: string, url: string, headers: Record<string, string>, payload?: object }

/** Sends a request over https to a demo whose certificate nobody vouches for. */
async function overHttps (port: number, { method, url, headers, payload }: Sent): Promise<object> {
  return await new Promise((resolve, reject) => {
    const sent = httpsRequest({ port, path: url, method, rejectUnauthorized: false, headers: { ...headers, ...payload !== undefined && { 'content-type': 'application/json' } } }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk) => { body += String(chunk) })
      response.once('end', () => resolve({ statusCode: response.statusCode, headers: response.headers, body, json: (): unknown => JSON.parse(body) }))
    })
    sent.once('error', reject)
    sent.end(payload === undefined ? undefined : JSON.stringify(payload))
  })
}

test('over https the demo binds a session to the device, says so, and hands out a copy of its cookies', async (t) => {
  const port = await freePort()
  const folder = t.testdir()
  const { key, cert } = await selfSigned(['localhost'])
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  await Promise.all([writeFile(keyFile, key), writeFile(certFile, cert)])
  const answers = async (): Promise<boolean> => await overHttps(port, { method: 'GET', url: '/', headers: {} }).then(() => true, () => false)
  const env = { TSX_TSCONFIG_PATH: `${root}examples/tsconfig.json`, TLS_KEY: keyFile, TLS_CERT: certFile }
  await startCommand(t, [process.execPath, '--import', 'tsx', `${root}examples/demo/server.ts`], port, { env, answers })
  // All that a BoundBrowser asks of an application.
  // All that a browser of the tests asks an application for.
  const app = { inject: async (sent: Sent) => await overHttps(port, sent) } as unknown as FastifyInstance
  const ada = new BoundBrowser(app)
  await ada.post('/auth/login', { username: 'ada', password: 'lovelace' })
  t.match((await ada.get('/')).body, /Bound to this device<\/dt><dd>no</)
  t.equal((await ada.register()).statusCode, 200)
  t.match((await ada.get('/')).body, /Bound to this device<\/dt><dd>yes</)
  const { body } = await ada.post('/copy')
  const [, cookie = ''] = /-H &#39;cookie: (.+?)&#39; https:\/\/localhost:\d+\/me</.exec(body) ?? []
  t.strictSame(cookie.split('; ').sort(), [...ada.cookies].map(([name, value]) => `${name}=${value}`).sort())
  const copy = await overHttps(port, { method: 'GET', url: '/me', headers: { cookie } })
  t.match(copy, { statusCode: 200, body: /Ada/ })
})

test('over http the demo says that nothing is bound, and a copy of the cookie works until the sign-out', async (t) => {
  const demo = await startDemo(t)
  const { cookie } = await login(demo, 'ada', 'lovelace')
  t.match(await (await fetch(demo.url, { headers: { cookie } })).text(), /Bound to this device<\/dt><dd>no</)
  const copied = await (await fetch(`${demo.url}/copy`, { method: 'POST', headers: { cookie } })).text()
  t.match(copied, `cookie: ${cookie}&#39;`)
  t.match(copied, /until this session ends/)
  t.notMatch(demo.output(), /deviceBound/)
})
