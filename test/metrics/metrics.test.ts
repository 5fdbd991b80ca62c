import { tracingChannel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { Registry } from 'prom-client'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, storeErrors } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { METRICS } from '../../lib/metrics/definitions.ts'
import { collectMetrics } from '../../lib/metrics/index.ts'
import { TRACE_NAMES } from '../../lib/session/tracing.ts'
import { startApp } from '../helpers/app.ts'
import { Jar, startExpress } from '../helpers/express-app.ts'
import { inMemory, openManager } from '../helpers/managers.ts'
import type { ManagerOptions } from '../helpers/managers.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { openStore } from '../helpers/redis-store.ts'

const NAME = 'fastify_user_sessions_'

/** A series as it is scraped. */
interface Series { name: string, labels: Record<string, string>, value: number }

/** Reads the text of a scrape. */
function seriesOf (text: string): Series[] {
  return [...text.matchAll(/^(?<name>[\w:]+)(?:\{(?<labels>.*)\})? (?<value>\S+)$/gm)].map(({ groups = {} }) => ({
    name: groups.name ?? '',
    labels: Object.fromEntries([...(groups.labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value])),
    value: Number(groups.value)
  }))
}

/** A person's browser that asks over a socket. */
class Visitor {
  cookie = ''
  readonly #base: string

  constructor (base: string) {
    this.#base = base
  }

  async ask (path: string, body?: object, headers: Record<string, string> = {}): Promise<number> {
    const response = await fetch(`${this.#base}${path}`, {
      ...body !== undefined && { method: 'POST', body: JSON.stringify(body) },
      headers: { ...this.cookie !== '' && { cookie: this.cookie }, ...body !== undefined && { 'content-type': 'application/json' }, ...headers }
    })
    for (const line of response.headers.getSetCookie()) this.cookie = /max-age=0/i.test(line) ? '' : line.split(';')[0] ?? ''
    await response.arrayBuffer()
    return response.status
  }
}

/** An application that listens, with its metrics at /metrics. */
async function startService (t: Test, redis: TestRedis, options: Partial<SessionOptions> = {}) {
  const register = new Registry()
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), ...options })
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null })
  app.get('/me', async (request) => request.auth?.userId ?? null)
  app.post('/write', async (request) => { request.session.cart = ['x'.repeat(300)] })
  app.post('/move', async (request) => { await request.session.regenerate(['userId']) })
  app.get('/metrics', { config: { session: false } }, async () => await register.metrics())
  collectMetrics(app.sessions, { register })
  const base = await app.listen({ port: 0, host: '127.0.0.1' })
  const scrape = async () => seriesOf(await (await fetch(`${base}/metrics`)).text())
  /** Sum of the series of a metric with these labels. */
  const value = async (name: string, labels: Record<string, string> = {}) => {
    const found = (await scrape()).filter((each) => each.name === NAME + name && Object.entries(labels).every(([label, of]) => each.labels[label] === of))
    if (found.length === 0) throw new Error(`there is no ${name} with ${JSON.stringify(labels)}`)
    return found.reduce((sum, each) => sum + each.value, 0)
  }
  return { app, base, scrape, value, visitor: () => new Visitor(base), register }
}

t.test('sign-ins, failures, ends and lookups are counted by their reasons', async (t) => {
  const redis = await startRedis(t)
  const { app, value, visitor } = await startService(t, redis, { bearer: true, maxSessionsPerUser: 2, endedFor: '1h' })
  const ada = visitor()
  t.equal(await ada.ask('/login', { username: 'ada', password: 'lovelace' }), 200)
  await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  t.equal(await value('begun_total', { kind: 'cookie', reason: 'sign-in' }), 1)
  t.equal(await value('begun_total', { kind: 'bearer', reason: 'sign-in' }), 1)

  const mallory = visitor()
  for (let guess = 0; guess < 12; guess++) await mallory.ask('/login', { username: 'bob', password: `guess ${guess}` })
  t.equal(await value('login_failures_total', { reason: 'credentials' }), 10)
  t.equal(await value('login_failures_total', { reason: 'accountNetwork' }), 2)
  t.equal(await value('begun_total'), 2, 'none of them began a session')

  await ada.ask('/move', {})
  t.equal(await value('begun_total', { reason: 'moved' }), 1)
  t.equal(await value('ended_total', { kind: 'cookie', reason: 'replaced' }), 1)
  const found = await value('lookups_total', { source: 'store', result: 'found' })
  await ada.ask('/me')
  t.equal(await value('lookups_total', { source: 'store', result: 'found' }), found + 1)
  t.equal(await value('lookups_total', { result: 'none' }), 0)

  const stolen = visitor()
  stolen.cookie = ada.cookie
  t.equal(await ada.ask('/write', {}, { 'sec-fetch-site': 'cross-site' }), 403)
  t.equal(await value('cross_site_refusals_total'), 1)
  t.equal(await ada.ask('/write', {}), 200)
  t.ok(await value('data_bytes_sum') > 300)
  const saved = await value('saves_total', { result: 'stored' })
  t.equal(await value('data_bytes_count'), saved)

  await ada.ask('/logout', {})
  t.equal(await value('ended_total', { kind: 'cookie', reason: 'logout' }), 1)
  await stolen.ask('/me')
  t.equal(await value('lookups_total', { source: 'store', result: 'none' }), 1)
  t.equal(await value('uses_after_end_total', { kind: 'cookie' }), 1)
  for (let again = 0; again < 3; again++) await visitor().ask('/login', { username: 'ada', password: 'lovelace' })
  t.equal(await value('ended_total', { reason: 'evicted' }), 1)
  await app.sessions.revokeUser('ada')
  t.equal(await value('ended_total', { reason: 'revoked' }), 3)
  t.equal(await value('store_operation_duration_seconds_count', { operation: 'login', outcome: 'ok' }), await value('begun_total', { reason: 'sign-in' }))
})

t.test('an outage of Redis is seen in four series, and over when Redis is back', async (t) => {
  withRealLimits(t)
  const redis = await startRedis(t)
  const { value, visitor } = await startService(t, redis)
  const ada = visitor()
  await until('the sign-in', async () => await ada.ask('/login', { username: 'ada', password: 'lovelace' }) === 200)
  await until('Redis to be fast enough', async () => await value('store_up') === 1)
  const [outages, errors, slow] = [
    await value('store_outages_total'), await value('lookups_total', { source: 'store', result: 'error' }),
    await value('store_operation_duration_seconds_count', { operation: 'load', outcome: 'error' })
  ]
  redis.pause()
  t.equal(await ada.ask('/me'), 503)
  await until('the outage', async () => await value('store_up') === 0)
  t.equal(await ada.ask('/me'), 503)
  t.equal(await value('store_outages_total'), outages + 1)
  t.equal(await value('lookups_total', { source: 'store', result: 'error' }), errors + 2)
  t.equal(await value('store_operation_duration_seconds_count', { operation: 'load', outcome: 'error' }), slow + 2)
  t.ok(await value('store_operation_duration_seconds_sum', { operation: 'load', outcome: 'error' }) > 0.4, 'the first of them waited')
  redis.resume()
  await until('service', async () => await ada.ask('/me') === 200)
  t.equal(await value('store_up'), 1)
  t.equal(await value('store_outages_total'), outages + 1)
})

t.test('a store that was down before is down in the first scrape', async (t) => {
  const redis = await startRedis(t)
  await redis.stop()
  const { value } = await startService(t, redis)
  await until('the outage to be counted', async () => await value('store_outages_total') === 1)
  t.equal(await value('store_up'), 0)
})

t.test('a manager that is made during an outage knows of it, and of its end', async (t) => {
  const redis = await startRedis(t)
  const store = await openStore(t, redis.url, { prefix: prefix() })
  const down = once(store.events, 'down')
  await redis.stop()
  await t.rejects(store.ping(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await down
  const kinds: ManagerOptions[] = [{}, { encryption: { keys: ['0123456789abcdef0123456789abcdef'] } }, { nearCache: true }]
  const managers = kinds.map((options) => {
    const sessions = openManager(t, { store, ...options })
    const told: string[] = []
    for (const name of ['store-down', 'store-up'] as const) sessions.on(name, () => { told.push(name) })
    const register = new Registry()
    collectMetrics(sessions, { register })
    return { told, register }
  })
  for (const { told, register } of managers) {
    t.match(await register.metrics(), `\n${NAME}store_up 0`)
    t.match(await register.metrics(), `\n${NAME}store_outages_total 1`)
    await until('the outage to be told', () => told.length === 1)
  }
  await redis.restart()
  for (const { told, register } of managers) {
    await until('the end to be told', () => told.length === 2)
    t.strictSame(told, ['store-down', 'store-up'])
    t.match(await register.metrics(), `\n${NAME}store_up 1`)
    t.match(await register.metrics(), `\n${NAME}store_outages_total 1`)
  }
})

t.test('a near-cache shows what it holds and what it had', async (t) => {
  const redis = await startRedis(t)
  const { app, value, visitor, base } = await startService(t, redis, { nearCache: true })
  const ada = visitor()
  await ada.ask('/login', { username: 'ada', password: 'lovelace' })
  await until('it to be in memory', async () => {
    await ada.ask('/me')
    return await value('near_cache_hits_total') > 0
  })
  t.equal(await value('near_cache_entries'), 1)
  const [hits, misses, memory] = [await value('near_cache_hits_total'), await value('near_cache_misses_total'), await value('lookups_total', { source: 'memory', result: 'found' })]
  t.equal(memory, hits)
  t.equal(misses, await value('lookups_total', { source: 'store' }))
  await until('another hit', async () => {
    await ada.ask('/me')
    return await value('near_cache_hits_total') > hits
  })
  t.equal(await value('lookups_total', { source: 'memory', result: 'found' }), await value('near_cache_hits_total'))
  const dropped = await value('near_cache_invalidations_total')
  await app.sessions.revokeUser('ada')
  await until('it to be dropped', async () => await value('near_cache_entries') === 0)
  t.ok(await value('near_cache_invalidations_total') > dropped)
  t.equal((await fetch(`${base}/metrics`)).status, 200)
})

t.test('a session of which Express has changed the user is a hit once, and no lookup in the store where nothing is asked', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const express = await startExpress(t, { client: redis.client, keyPrefix })
  const { app, value } = await startService(t, redis, { keyPrefix, expressSession: 'share', nearCache: true })
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.post(express, '/assign/bob')
  const carrier = { headers: { cookie: jar.header } }
  const counts = async () => ({
    hits: await value('near_cache_hits_total'),
    misses: await value('near_cache_misses_total'),
    memory: await value('lookups_total', { source: 'memory', result: 'found' }),
    store: await value('lookups_total', { source: 'store', result: 'found' })
  })
  await until('it to be in memory', async () => {
    t.equal((await app.sessions.fromRequest(carrier))?.userId, 'bob')
    return (await counts()).hits > 0
  })
  const found = await counts()
  t.equal(found.memory, found.hits)
  t.equal(found.store, found.misses)
  t.equal((await app.sessions.fromRequest(carrier, { touch: true }))?.userId, 'bob')
  const used = await counts()
  t.equal(used.store, found.store + 1, 'it was listed')
  t.equal(used.hits + used.misses, found.hits + found.misses + 1)
})

t.test('a scrape asks Redis nothing, and metrics make no process listen to others', async (t) => {
  const redis = await startRedis(t)
  const options = { keyPrefix: prefix() }
  const { app, scrape, visitor } = await startService(t, redis, options)
  await visitor().ask('/login', { username: 'ada', password: 'lovelace' })
  const { session } = await app.sessions.create({ userId: 'bob' })
  const seenAt = (await app.sessions.get(session.id))?.lastSeenAt
  t.strictSame(await commandsDuring(redis.client, async () => { for (let each = 0; each < 5; each++) await scrape() }), {})
  t.equal((await app.sessions.get(session.id))?.lastSeenAt, seenAt)
  t.strictSame(await redis.client.pubsub('CHANNELS', '*'), [])
})

t.test('what happens in another process is counted there', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const [here, there] = [await startService(t, redis, { keyPrefix }), await startService(t, redis, { keyPrefix })]
  // From now on each hears of the other.
  for (const { app } of [here, there]) app.sessions.on('created', () => {})
  const heard: boolean[] = []
  there.app.sessions.on('created', ({ local }) => { heard.push(local) })
  await until('it to listen', async () => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 2)
  await here.visitor().ask('/login', { username: 'ada', password: 'lovelace' })
  await until('the event', () => heard.length === 1)
  t.equal(await here.value('begun_total'), 1)
  t.equal(await there.value('begun_total'), 0)
})

t.test('no label holds an id, a user or what somebody typed, and each metric is one of the table', async (t) => {
  const redis = await startRedis(t)
  const { app, scrape, visitor } = await startService(t, redis, { nearCache: true, endedFor: '1h', bearer: true })
  const ada = visitor()
  await ada.ask('/login', { username: 'ada-of-the-labels', password: 'lovelace' })
  await visitor().ask('/login', { username: 'mallory-of-the-labels', password: 'a guess' })
  await app.sessions.create({ userId: 'ada-of-the-labels', kind: 'bearer', label: 'phone-of-the-labels' })
  await ada.ask('/write', {})
  const cookie = ada.cookie
  await ada.ask('/logout', {})
  ada.cookie = cookie
  await ada.ask('/me')
  await app.sessions.revokeUser('ada-of-the-labels', { reason: 'reason-of-the-labels', actor: 'actor-of-the-labels' })
  const all = await scrape()
  const known = Object.values(METRICS).map(({ name, type, labels }) => ({ name, type, labels: labels as Record<string, readonly string[]> }))
  for (const { name, labels } of all) {
    const metric = known.find((each) => name === each.name || (each.type === 'histogram' && ['_bucket', '_sum', '_count'].some((end) => name === each.name + end)))
    t.ok(metric, name)
    for (const [label, value] of Object.entries(labels)) {
      if (label === 'le') t.ok(value === '+Inf' || Number.isFinite(Number(value)), `${name}: ${value}`)
      else t.ok(metric?.labels[label]?.includes(value), `${name}{${label}="${value}"}`)
    }
  }
  for (const { name } of known) t.ok(all.some((each) => each.name.startsWith(name)), `${name} is scraped`)
})

t.test('a manager without Fastify has metrics as well', async (t) => {
  const { sessions, age } = inMemory(t)
  const register = new Registry()
  collectMetrics(sessions, { register, prefix: 'worker_' })
  const valueOf = async (name: string, labels: Record<string, string>) => {
    return seriesOf(await register.metrics()).find((each) => each.name === `worker_${NAME}${name}` && JSON.stringify(each.labels) === JSON.stringify(labels))?.value
  }
  const { token } = await sessions.create({ userId: 'ada' })
  await sessions.find(token)
  t.equal(await valueOf('lookups_total', { source: 'memory', result: 'found' }), 1)
  t.equal(await valueOf('store_up', {}), 1)
  t.equal(await valueOf('near_cache_entries', {}), undefined, 'it has none')
  await age(366 * 24 * 3_600_000)
  t.equal(await sessions.find(token), null)
  await sessions.listByUser('ada')
  await until('the end', async () => await valueOf('ended_total', { kind: 'cookie', reason: 'expired' }) === 1)
  t.equal(await valueOf('store_operation_duration_seconds_count', { operation: 'list', outcome: 'ok' }), 1)
})

t.test('what the store answers is no error of the store', async (t) => {
  const { sessions } = inMemory(t, { maxSessionsPerUser: 1, onLimit: 'reject' })
  const register = new Registry()
  collectMetrics(sessions, { register })
  const { session } = await sessions.create({ userId: 'ada' })
  await t.rejects(sessions.create({ userId: 'ada' }), { code: 'ERR_SESSION_LIMIT_REACHED' })
  await t.rejects(sessions.update(session.id, (data) => ({ ...data, cart: 'x'.repeat(70_000) })), { code: 'ERR_SESSION_DATA_TOO_LARGE' })
  const text = await register.metrics()
  t.match(text, `${NAME}store_operation_duration_seconds_count{operation="login",outcome="refused"} 1`)
  t.match(text, `${NAME}saves_total{result="refused"} 1`)
  t.match(text, `${NAME}saves_total{result="error"} 0`)
})

t.test('a sign-in that was stored, and whose answer was lost, is an end without a beginning', async (t) => {
  const { sessions, store } = inMemory(t)
  const register = new Registry()
  collectMetrics(sessions, { register })
  const begin = store.begin.bind(store)
  store.begin = async (...args) => {
    await begin(...args)
    throw new storeErrors.STORE_UNAVAILABLE({ cause: new Error('lost') })
  }
  await t.rejects(sessions.create({ userId: 'ada' }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await until('its end', async () => (await register.metrics()).includes(`${NAME}ended_total{kind="cookie",reason="revoked"} 1`))
  t.match(await register.metrics(), `${NAME}begun_total{kind="cookie",reason="sign-in"} 0`)
  t.match(await register.metrics(), `${NAME}store_operation_duration_seconds_count{operation="login",outcome="error"} 1`)
})

t.test('two registrations share a registry by their prefixes, and no two have the same', async (t) => {
  const [one, two] = [inMemory(t).sessions, inMemory(t).sessions]
  const register = new Registry()
  collectMetrics(one, { register })
  const before = await register.metrics()
  const message = 'the registry has metrics of sessions already: give another prefix or register'
  t.throws(() => collectMetrics(two, { register }), { name: 'TypeError', message })
  t.throws(() => collectMetrics(one, { register }), { name: 'TypeError', message })
  t.equal(await register.metrics(), before, 'what was refused has left nothing')
  collectMetrics(two, { register, prefix: 'staff_' })
  await two.create({ userId: 'ada' })
  await until('the sign-in', async () => (await register.metrics()).includes(`staff_${NAME}begun_total{kind="cookie",reason="sign-in"} 1`))
  t.match(await register.metrics(), `\n${NAME}begun_total{kind="cookie",reason="sign-in"} 0`)
})

t.test('closing leaves nothing behind', async (t) => {
  const register = new Registry()
  for (let round = 0; round < 3; round++) {
    const { sessions } = inMemory(t)
    collectMetrics(sessions, { register })
    t.ok(register.getMetricsAsArray().length > 5)
    for (const name of TRACE_NAMES) t.ok(tracingChannel(`fastify-user-sessions:${name}`).hasSubscribers, name)
    await sessions.close()
    await sessions.close()
    for (const name of TRACE_NAMES) t.notOk(tracingChannel(`fastify-user-sessions:${name}`).hasSubscribers, name)
    t.strictSame(register.getMetricsAsArray(), [])
  }
  const app = await startApp(t)
  collectMetrics(app.sessions, { register })
  await app.close()
  t.strictSame(register.getMetricsAsArray(), [], 'nor does closing an application')
})

t.test('closing takes away no metrics of another manager', async (t) => {
  const [one, two] = [inMemory(t).sessions, inMemory(t).sessions]
  const register = new Registry()
  collectMetrics(one, { register })
  register.clear()
  collectMetrics(two, { register })
  const all = register.getMetricsAsArray()
  await one.close()
  t.strictSame(register.getMetricsAsArray().map(({ name }) => name), all.map(({ name }) => name))
  await two.create({ userId: 'ada' })
  await until('the sign-in', async () => (await register.metrics()).includes(`${NAME}begun_total{kind="cookie",reason="sign-in"} 1`))
  await two.close()
  t.strictSame(register.getMetricsAsArray(), [])
})

t.test('a manager that is closed is refused, and leaves nothing', async (t) => {
  const { sessions } = inMemory(t)
  await sessions.close()
  const register = new Registry()
  t.throws(() => collectMetrics(sessions, { register }), { name: 'TypeError', message: 'sessions must not be closed' })
  t.strictSame(register.getMetricsAsArray(), [])
  for (const name of TRACE_NAMES) t.notOk(tracingChannel(`fastify-user-sessions:${name}`).hasSubscribers, name)
})

t.test('what is no manager, no option or no name is refused', async (t) => {
  const { sessions } = inMemory(t)
  // Not of the types on purpose.
  const collect = collectMetrics as (...args: unknown[]) => void
  for (const wrong of [undefined, null, {}, 'sessions']) t.throws(() => collect(wrong), { name: 'TypeError', message: 'sessions must be app.sessions, or a SessionManager' })
  t.throws(() => collect(sessions, { registry: new Registry() }), { name: 'TypeError', message: 'options must have no members but register, prefix' })
  for (const prefix of ['a-b', '1', 7]) t.throws(() => collect(sessions, { register: new Registry(), prefix }), { name: 'TypeError', message: 'prefix must be the beginning of a name' })
})
