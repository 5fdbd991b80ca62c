import type { FastifyError, FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { exchange } from '../helpers/raw-http.ts'
import { listen } from '../helpers/visitor.ts'

/*
 * Errors that a wrong configuration may explain: the log and the cause say what to change, the reply does not. All of
 * it over a socket, with the headers as they come.
 */

interface Site {
  app: FastifyInstance & { lines: LogLine[] }
  /** Posts, and returns the body of the reply. */
  post: (path: string, headers?: Record<string, string>) => Promise<string>
}

async function open (t: Test, options: Partial<SessionOptions> = {}, trustProxy?: string): Promise<Site> {
  const app = await startApp(t, options, { ...trustProxy !== undefined && { trustProxy } })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  let url: Promise<string> | undefined
  const post: Site['post'] = async (path, headers = {}) => {
    const { port } = new URL(await (url ??= listen(app)))
    const lines = Object.entries({ host: 'app.example', connection: 'close', 'content-length': '0', ...headers })
    const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
    // As no client library would send it.
    return (await exchange(Number(port), Buffer.from(head, 'latin1'))).body
  }
  return { app, post }
}

/** The lines of the log that tell of an error. */
const errorsIn = ({ lines }: Site['app']): Array<LogLine & { err: { message: string, stack: string } }> => lines.filter(({ err }) => err !== undefined) as never

const OWN = 'Pages of these origins may act: "http://app.example", "https://front.example".'
const NAME_IT = 'If this page is yours, name its origin in the option origins. If it is a provider that posts here, set csrf to false for this route, and check its own proof.'
const UNTRUSTED = 'came from an address that is not trusted. Set Fastify\'s trustProxy to that of your proxy.'

/** What a request of another site says of itself, and what the log says of it. */
const REFUSED: Array<[headers: Record<string, string>, says: string]> = [
  [{ origin: 'http://localhost:5173' }, `Origin is "http://localhost:5173", Sec-Fetch-Site is absent. ${OWN} ${NAME_IT}`],
  [{ origin: 'https://front.example/', 'sec-fetch-site': 'same-site' }, `Origin is "https://front.example/", Sec-Fetch-Site is "same-site". ${OWN} ${NAME_IT}`],
  [{ 'sec-fetch-site': 'cross-site' }, `Origin is absent, Sec-Fetch-Site is "cross-site". ${OWN} ${NAME_IT}`],
  [{ origin: 'null', 'sec-fetch-site': 'cross-site' }, `Origin is "null", Sec-Fetch-Site is "cross-site". ${OWN} ${NAME_IT}`],
  [{ origin: 'https://app.example', 'x-forwarded-proto': 'https' }, `Origin is "https://app.example", Sec-Fetch-Site is absent. ${OWN} X-Forwarded-Proto "https" ${UNTRUSTED}`],
  [{ origin: 'https://public.example', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil.example, public.example' }, `Origin is "https://public.example", Sec-Fetch-Site is absent. ${OWN} X-Forwarded-Host "public.example" and X-Forwarded-Proto "https" ${UNTRUSTED}`],
  [{ origin: 'http://a.example\t\u0085\u009b\u00e4"\\' }, `Origin is "http://a.example\\t\\u0085\\u009b\\u00e4\\"\\\\", Sec-Fetch-Site is absent. ${OWN} ${NAME_IT}`],
  [{ origin: 'x'.repeat(8_000), 'sec-fetch-site': 'y'.repeat(101) }, `Origin is "${'x'.repeat(100)}…", Sec-Fetch-Site is "${'y'.repeat(100)}…". ${OWN} ${NAME_IT}`],
  [{ host: 'z'.repeat(200), origin: 'http://app.example' }, `Origin is "http://app.example", Sec-Fetch-Site is absent. Pages of these origins may act: "http://${'z'.repeat(93)}…", "https://front.example". ${NAME_IT}`]
]

t.test('[3.5.1, 16.2.5] the log says once why a request counts as one of another site, and the reply says no more than before', async (t) => {
  const site = await open(t, { origins: ['https://front.example'] })
  for (const [headers, says] of REFUSED) {
    site.app.lines.length = 0
    const { message, code, ...more } = JSON.parse(await site.post('/login', headers))
    t.strictSame([message, code], ['Cross-site request rejected', 'ERR_SESSION_CSRF_REJECTED'])
    t.strictSame(Object.keys(more), ['statusCode', 'error'])
    const lines = errorsIn(site.app)
    t.strictSame(lines.map(({ level, err }) => [level, err.message]), [[30, `Cross-site request rejected: ${says}`]])
    t.match(lines[0]?.err.stack, 'caused by: Error: Origin is ')
    // eslint-disable-next-line no-control-regex
    t.notMatch(JSON.stringify(site.app.lines), /[\u0000-\u001f\u007f-\u009f]/, 'nothing moves the cursor of who reads it')
  }
})

t.test('[3.5.1] so it does for a request that carries the session cookie, and in an error handler of the application\'s', async (t) => {
  const { app, post } = await open(t)
  const causes: unknown[] = []
  app.setErrorHandler<FastifyError>(async (error, _request, reply) => {
    causes.push((error.cause as Error).message)
    return await reply.code(403).send({ ...error, message: error.message })
  })
  app.post('/transfer', async () => 'done')
  const { headers } = await app.sessions.create({ userId: 'ada' })
  const body = await post('/transfer', { ...headers, 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' })
  t.strictSame(causes, [`Origin is "https://evil.example", Sec-Fetch-Site is "cross-site". Pages of these origins may act: "http://app.example". ${NAME_IT}`])
  t.notMatch(body, 'evil.example', 'also where a careless one sends all members of the error')
})

const PLAIN = 'The request came by "http", and cookie.secure is true.'

t.test('the log says at its default level what to change where a cookie would go over plain http, and the reply does not', async (t) => {
  const { app, post } = await open(t, { cookie: {} })
  for (const [headers, advice] of [
    [{}, 'Behind a TLS proxy set Fastify\'s trustProxy to its address. For local development and for app.inject(), which is http, set cookie.secure to false.'],
    [{ 'x-forwarded-proto': 'https' }, `X-Forwarded-Proto "https" ${UNTRUSTED}`],
    [{ 'x-forwarded-proto': 'http', 'x-forwarded-host': 'public.example' }, 'Behind a TLS proxy set Fastify\'s trustProxy to its address. For local development and for app.inject(), which is http, set cookie.secure to false.']
  ] satisfies Array<[Record<string, string>, string]>) {
    app.lines.length = 0
    t.strictSame(JSON.parse(await post('/login', headers)), {
      statusCode: 500,
      code: 'ERR_SESSION_INSECURE_CONNECTION',
      error: 'Internal Server Error',
      message: 'A session cookie cannot be sent over plain http'
    })
    t.strictSame(errorsIn(app).map(({ level, err }) => [level, err.message]), [[50, `A session cookie cannot be sent over plain http: ${PLAIN} ${advice}`]])
  }
})

t.test('[4.1.3] what a trusted proxy forwards is compared, and is no reason to trust another', async (t) => {
  const { app, post } = await open(t, { cookie: {} }, '127.0.0.1')
  await post('/login', { origin: 'https://other.example', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'public.example' })
  await post('/login', { 'x-forwarded-proto': 'http' })
  t.strictSame(errorsIn(app).map(({ err }) => err.message), [
    `Cross-site request rejected: Origin is "https://other.example", Sec-Fetch-Site is absent. Pages of these origins may act: "https://public.example". ${NAME_IT}`,
    `A session cookie cannot be sent over plain http: ${PLAIN} Behind a TLS proxy set Fastify's trustProxy to its address. For local development and for app.inject(), which is http, set cookie.secure to false.`
  ])
})
