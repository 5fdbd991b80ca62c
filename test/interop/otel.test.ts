import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t from 'tap'
import { authRoutes, sessionPlugin } from '../../lib/index.ts'
import { Browser, secret } from '../helpers/app.ts'
import { root } from '../helpers/process.ts'
import { programsOf } from '../helpers/programs.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

/** The recipe as the page has it. */
async function recipe (): Promise<{ traceSessions: () => void }> {
  const path = 'docs/guides/traces.md'
  const module = programsOf({ path, text: readFileSync(`${root}${path}`, 'utf8') }).find(({ kind }) => kind === 'module')
  const folder = `${root}.tmp/otel/`
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  symlinkSync(`${root}test/interop/node_modules`, `${folder}node_modules`, 'dir')
  writeFileSync(`${folder}session-spans.ts`, module?.code ?? '')
  return await import(`${folder}session-spans.ts`) as { traceSessions: () => void }
}

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
provider.register()
t.teardown(() => provider.shutdown())
const { traceSessions } = await recipe()
traceSessions()

/** Takes the spans that are over. */
function take (): ReadableSpan[] {
  const spans = exporter.getFinishedSpans()
  exporter.reset()
  return spans
}

/** Spans of sessions: name and attributes. */
const ofSessions = (spans: ReadableSpan[]) => spans.filter(({ name }) => name.startsWith('session ')).map(({ name, attributes }) => [name, attributes])

/** Names of a span and of those around it, from the inside. */
function around (spans: ReadableSpan[], span: ReadableSpan | undefined): string[] {
  if (span === undefined) return []
  const parent = spans.find((each) => each.spanContext().spanId === span.parentSpanContext?.spanId)
  return [span.name, ...around(spans, parent)]
}

t.test('what a session asks of Redis are spans inside the span of its request', async (t) => {
  const redis = await startRedis(t)
  const otel = new FastifyOtelInstrumentation()
  otel.setTracerProvider(provider)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(otel.plugin())
  await app.register(sessionPlugin, { secret, redis: redis.url, keyPrefix: prefix(), cookie: { secure: false } })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), attempts: false })
  app.get('/me', async (request) => request.auth?.userId ?? null)
  app.post('/cart', async (request) => { request.session.cart = ['book'] })

  const [ada, bob] = [new Browser(app), new Browser(app)]
  await ada.post('/login', { username: 'ada', password: 'x' })
  t.strictSame(ofSessions(take()), [['session login', { 'fastify_user_sessions.kind': 'cookie', 'fastify_user_sessions.result': 'begun' }]])
  await bob.get('/me')
  t.strictSame(ofSessions(take()), [])

  t.equal((await ada.get('/me')).body, 'ada')
  const spans = take()
  t.strictSame(ofSessions(spans), [['session load', { 'fastify_user_sessions.kind': 'cookie', 'fastify_user_sessions.result': 'found' }]])
  const chain = around(spans, spans.find(({ name }) => name === 'session load'))
  t.equal(chain.at(-1), 'request', chain.join(' in '))

  await ada.post('/cart')
  const saved = take()
  t.strictSame(ofSessions(saved).map(([name]) => name), ['session load', 'session save'])
  t.equal(new Set(saved.map((span) => span.spanContext().traceId)).size, 1, 'one trace')
  t.equal(around(saved, saved.find(({ name }) => name === 'session save')).at(-1), 'request')

  const { session } = await app.sessions.create({ userId: 'bob' })
  const change = (): never => { throw new RangeError('bob-of-the-spans') }
  await t.rejects(app.sessions.update(session.id, change), { message: 'bob-of-the-spans' })
  const broken = take()
  t.strictSame(broken.find(({ name }) => name === 'session save')?.status, { code: 2, message: 'RangeError' })
  t.notMatch(inspect(broken.map(({ name, status, attributes, events }) => [name, status, attributes, events]), { depth: 9 }), 'bob-of-the-spans', 'the words of an error may be anything')

  redis.pause()
  t.teardown(() => redis.resume())
  t.equal((await ada.get('/me')).statusCode, 503)
  const failed = take().find(({ name }) => name === 'session load')
  t.strictSame(failed?.status, { code: 2, message: 'ERR_SESSION_STORE_UNAVAILABLE' })
})
