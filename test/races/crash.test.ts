import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { connect } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import { RedisStore } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { addRoutes, optionsOf } from '../helpers/crashing-service.ts'
import type { ServiceRequest } from '../helpers/crashing-service.ts'
import { MINUTE } from '../helpers/record.ts'
import { redisScripts } from '../helpers/redis-scripts.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { age, isPointer, keysOf } from '../helpers/redis-store.ts'
import { isAll, isSoak, report } from '../helpers/scale.ts'
import { SteppingWire } from '../helpers/stepping-wire.ts'
import type { Step, StopMode } from '../helpers/stepping-wire.ts'
import { herd } from '../helpers/victim.ts'

/** How many operations are under way in a process when it is killed. */
const AT_ONCE = isSoak ? 8 : 12
/** Within this time after an answer all has been sent that follows it, in milliseconds. */
const AFTER_ANSWER_MS = 200
/** And by then after the question, of an operation that was answered. */
const OVER_AFTER_MS = 4_000
/** How long a login may be under way, in milliseconds. */
const PENDING_MS = 10_000
const MOVED_MS = 3_600_000

/** Sessions under a prefix of their own, and an application that looks what became of them. */
interface Scene {
  app: FastifyInstance
  client: Client
  store: RedisStore
  keyPrefix: string
}

interface Operation {
  kind: 'login' | 'logout' | 'use'
  limit?: number
  /** Makes what there is before. Gives who asks for what; the session that a login replaces, or those that a logout is to end, and until when it can, by this process' clock. */
  prepare (scene: Scene): Promise<{ browser: Browser, url: string, old?: string, ends?: string[] }>
}

async function signIn ({ app }: Scene, user = 'ada', browser = new Browser(app)): Promise<Browser> {
  const { statusCode } = await browser.post(`/login/${user}`)
  if (statusCode !== 200) throw new Error(`login answered ${statusCode}`)
  return browser
}

/** The session that a browser's cookie names. */
function idOf (browser: Browser): string {
  return [...browser.cookies.values()][0]?.slice(0, 22) ?? ''
}

const operations: Record<string, Operation> = {
  'a first login': {
    kind: 'login',
    prepare: async ({ app }) => ({ browser: new Browser(app), url: '/login/ada' })
  },
  'a login of a visitor with a cart': {
    kind: 'login',
    prepare: async ({ app }) => {
      const browser = new Browser(app)
      await browser.post('/visit')
      return { browser, url: '/login/ada', old: idOf(browser) }
    }
  },
  'a login of who is signed in': {
    kind: 'login',
    prepare: async (scene) => {
      const browser = await signIn(scene)
      return { browser, url: '/login/ada', old: idOf(browser) }
    }
  },
  'a login as somebody else': {
    kind: 'login',
    prepare: async (scene) => {
      const browser = await signIn(scene, 'bob')
      return { browser, url: '/login/ada', old: idOf(browser) }
    }
  },
  'two logins in one request': {
    kind: 'login',
    prepare: async ({ app }) => ({ browser: new Browser(app), url: '/login-twice/ada' })
  },
  'a login over the limit': {
    kind: 'login',
    limit: 2,
    prepare: async (scene) => {
      await signIn(scene)
      await signIn(scene)
      return { browser: new Browser(scene.app), url: '/login/ada' }
    }
  },
  'a regenerate': {
    kind: 'login',
    prepare: async (scene) => {
      const browser = await signIn(scene)
      return { browser, url: '/regenerate', old: idOf(browser) }
    }
  },
  'a touch': {
    kind: 'use',
    prepare: async (scene) => {
      const browser = await signIn(scene)
      await age(scene.client, scene.keyPrefix, 20 * MINUTE)
      return { browser, url: `/touch/${idOf(browser)}`, old: idOf(browser) }
    }
  },
  'a logout': {
    kind: 'logout',
    prepare: async (scene) => {
      const browser = await signIn(scene)
      return { browser, url: '/logout', ends: [idOf(browser)] }
    }
  },
  'a logout with the cookie of before a regenerate': {
    kind: 'logout',
    prepare: async (scene) => {
      const browser = await signIn(scene)
      const otherTab = new Browser(scene.app)
      for (const [name, value] of browser.cookies) otherTab.cookies.set(name, value)
      await browser.post('/regenerate')
      return { browser: otherTab, url: '/logout', ends: [idOf(browser)] }
    }
  },
  'a revoke': {
    kind: 'logout',
    prepare: async (scene) => {
      const id = idOf(await signIn(scene))
      return { browser: new Browser(scene.app), url: `/revoke/${id}`, ends: [id] }
    }
  },
  'a revoke of all of a user': {
    kind: 'logout',
    prepare: async (scene) => {
      const ends = [idOf(await signIn(scene)), idOf(await signIn(scene)), idOf(await signIn(scene))]
      return { browser: new Browser(scene.app), url: '/revoke-user/ada', ends }
    }
  }
}

/** One operation that is to be stopped; without a step it is not. */
interface Try {
  name: string
  step: Step | null
}

/** What came of the tries. */
class Findings {
  readonly wrong: string[] = []
  readonly tries = { login: 0, logout: 0, use: 0 }
  /** Alive, and not on its user's list. */
  readonly unlisted = { login: 0, logout: 0, use: 0 }
  /** On a list, or asked to end, and still alive afterwards. */
  readonly unendable = { login: 0, logout: 0, use: 0 }
  /** Neither the session of before nor the one of after: allowed where a login had ended the one before. */
  signedOut = 0
  kills = 0
}

/** The ids of the live sessions under the prefix. */
async function liveIds ({ client, keyPrefix }: Scene): Promise<string[]> {
  return (await keysOf(client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).map((key) => key.slice(keyPrefix.length))
}

/** Looks what an operation left that will never be gone on with, and ends it all. */
async function judge (scene: Scene, prepared: Awaited<ReturnType<Operation['prepare']>>, { operation: { kind, limit }, gaveUp, endsAll, say, findings }: { operation: Operation, gaveUp: boolean, endsAll: boolean, say: (what: string) => void, findings: Findings }): Promise<void> {
  const { client, store, app, keyPrefix } = scene
  const keys = await keysOf(client, keyPrefix)
  const pending = keys.filter((key) => key.startsWith('@{'))
  for (const key of keys) {
    const ttlMs = await client.pttl(key)
    if (ttlMs === -1) say(`${key} never expires`)
    const mostMs = await isPointer(client, key) ? MOVED_MS : PENDING_MS
    if (pending.includes(key) && ttlMs > mostMs) say(`${key} is under way for ${ttlMs} ms`)
  }

  const live = await liveIds(scene)
  for (const id of live) {
    const record = await store.find(id)
    if (record === null) say(`${id} is there and not found`)
    if (record === null || record.userId === null) continue
    const until = Number(await client.call('PEXPIRETIME', keyPrefix + id))
    const listed = await client.zrange(`@${keyPrefix}user:${record.userId}`, '0', '-1', 'WITHSCORES')
    const index = listed.findIndex((member) => member.startsWith(`${id}:`))
    const isListed = index !== -1 && Number(listed[index + 1]) >= until
    if (isListed && (await store.listByUser(record.userId)).some((each) => each.id === id)) continue
    findings.unlisted[kind]++
    say(`${id} is alive and ${index === -1 ? 'not listed' : 'lives longer than it is listed'}`)
  }

  const { old, ends = [] } = prepared
  if (kind === 'login' && old !== undefined) {
    const begun = live.filter((id) => id !== old)
    if (live.includes(old) && begun.length > 0) say('both the old session and the new one are alive')
    if (live.length === 0) {
      findings.signedOut++
      // An operation that was out of time has undone its login, alive.
      if (!gaveUp && !(await Promise.all(pending.map((key) => client.get(key)))).some((value) => value?.startsWith('{') === true)) say('the old session is gone and no new one was under way')
    }
  }
  if (kind === 'use' && !live.includes(old ?? '')) say('the session is gone')

  if (kind === 'logout') {
    const { statusCode } = await prepared.browser.post(prepared.url)
    const left = (await liveIds(scene)).filter((id) => ends.includes(id))
    if (statusCode !== 200 || left.length > 0) {
      findings.unendable[kind]++
      say(`the same again answered ${statusCode} and left ${left.length} sessions`)
    }
  }

  await signIn(scene)
  const after = await Promise.all((await liveIds(scene)).map((id) => store.find(id)))
  const count = after.filter((record) => record?.userId === 'ada').length
  if (count < 1 || count > (limit ?? Infinity)) say(`after one more login ada has ${count} sessions`)

  for (const user of ['ada', 'bob']) {
    const listed = await app.sessions.listByUser(user)
    if (endsAll) await app.sessions.revokeUser(user)
    for (const { id } of listed) {
      if (endsAll || await app.sessions.revoke(id)) continue
      findings.unendable[kind]++
      say(`${id} could not be revoked`)
    }
    // What is under way, and what has just moved, may be listed until its trace has expired.
    const traces = (await keysOf(client, keyPrefix)).filter((key) => key.startsWith('@{'))
    const left = await app.sessions.listByUser(user)
    if (left.length > 0) say(`${left.length} sessions of ${user} are listed after their end`)
    findings.unendable[kind] += left.length
    const members = await client.zrange(`@${keyPrefix}user:${user}`, '0', '-1')
    const orphans = members.filter((member) => member.startsWith('+') ? endsAll : !traces.some((key) => key.includes(member.slice(0, member.lastIndexOf(':')))))
    if (orphans.length > 0) say(`of ${user} there are still listed ${orphans.join()}`)
  }
  const left = (await Promise.all((await liveIds(scene)).map((id) => store.find(id)))).filter((record) => record?.userId !== null)
  findings.unendable[kind] += left.length
  if (left.length > 0) say(`${left.length} sessions live on`)
}

interface Backend {
  client: Client
  /** What the processes to be killed reach it by. */
  ports: number[]
  isCluster: boolean
}

/** Kills processes that have operations under way, and looks what they left. Gives how many commands each operation sent, if all were answered well. */
async function crash (t: Test, { client, ports, isCluster }: Backend, next: ReturnType<typeof herd>, tries: Try[], findings: Findings): Promise<number[] | null> {
  const scenes = await Promise.all(tries.map(async ({ name, step }) => {
    const operation = operations[name] as Operation
    const keyPrefix = prefix()
    const limit = operation.limit ?? null
    const store = new RedisStore({ client, prefix: keyPrefix })
    const { keyPrefix: _keyPrefix, ...options } = optionsOf({ keyPrefix, limit })
    const app = await startApp(t, { store, ...options })
    addRoutes(app)
    const scene: Scene = { app, client, store, keyPrefix }
    const prepared = await operation.prepare(scene)
    const wire = new SteppingWire(ports, keyPrefix)
    await wire.open()
    t.teardown(() => wire.close())
    const request: ServiceRequest = { method: 'POST', url: prepared.url, headers: prepared.browser.cookies.size > 0 ? { cookie: prepared.browser.header } : {} }
    return { name, step, operation, scene, prepared, wire, request, service: { ports: wire.ports, nodes: isCluster ? ports : null, keyPrefix, limit } }
  }))

  const victim = next()
  await victim.open(scenes.map(({ service }) => service))
  for (const { wire, step } of scenes) wire.stopAt(step)
  victim.ask(scenes.map(({ request }) => request))
  const askedAt = performance.now()
  // A process that takes a node for down asks it again and again: there it is never quiet.
  const isOver = (wire: SteppingWire, step: Step | null): boolean => wire.quietForMs > (step === null ? AFTER_ANSWER_MS : 10 * AFTER_ANSWER_MS) || performance.now() - askedAt > OVER_AFTER_MS
  await until('every operation to come to its step, or to its end', () => scenes.every(({ wire, step }, index) => wire.isStopped || (victim.answers.has(index) && isOver(wire, step))))
  t.equal(await victim.kill(), 'SIGKILL')
  findings.kills++

  let isComplete = true
  for (const [index, { name, step, operation, scene, prepared, wire }] of scenes.entries()) {
    await wire.close()
    const where = `${name}, ${step === null ? 'at its end' : `command ${step.command} ${step.mode}`}`
    const answer = victim.answers.get(index)
    if (step === null || wire.isReached) findings.tries[operation.kind]++
    // Where this machine is too busy for the deadlines, an operation may end in 503 before.
    else if (answer !== 503) findings.wrong.push(`${where}: was not reached, but answered ${answer}`)
    if (step === null && answer !== 200) isComplete = false
    await judge(scene, prepared, { operation, gaveUp: answer === 503, endsAll: (index + findings.kills) % 2 === 0, findings, say: (what) => findings.wrong.push(`${where}: ${what}`) })
    await scene.app.close()
    await scene.store.close()
  }
  return isComplete ? scenes.map(({ wire }) => wire.commands) : null
}

function mastersOf ({ client }: Backend): Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client]
}

/** Everything that an operation of so many commands may have left, each once: none of them carried out, one, … all. */
function states (commands: number): Step[] {
  return Array.from({ length: commands + 1 }, (_, done) => done % 2 === 0 && done < commands ? { command: done + 1, mode: 'unsent' } : { command: done, mode: 'unanswered' })
}

/** Every step of every operation in every mode; in `npm run test:all` all that they may leave, and of that every `nth`; in `npm test` a fifth of it. */
function allTries (commands: number[], { modes, nth }: { modes: StopMode[], nth: number }): Try[] {
  const inMode = (mode: StopMode, count: number): Step[] => Array.from({ length: count }, (_, index) => ({ command: index + 1, mode }))
  return Object.keys(operations).flatMap((name, operation) => {
    const count = commands[operation] ?? 0
    const steps = isSoak ? modes.flatMap((mode) => inMode(mode, count)) : [...states(count), ...modes.includes('overtaken') ? inMode('overtaken', count) : []]
    return steps.map((step) => ({ name, step }))
  }).filter((_, index) => isSoak || index % (isAll ? nth : 5 * nth) === 0)
}

async function crashEverywhere (t: Test, backend: Backend, { on, modes, nth, kills }: { on: string, modes: StopMode[], nth: number, kills: number }): Promise<void> {
  const next = herd(t)
  // That none is asked for by its text: which operation would be the first to, is not always the same.
  for (const master of mastersOf(backend)) await Promise.all(Object.values(redisScripts).map(({ lua }) => master.script('LOAD', lua)))
  const findings = new Findings()
  let commands: number[] | null = null
  for (let attempt = 0; commands === null; attempt++) {
    if (attempt === 5) throw new Error('nothing answers well even where nothing is stopped')
    commands = await crash(t, backend, next, Object.keys(operations).map((name) => ({ name, step: null })), findings)
  }
  const tries = allTries(commands, { modes, nth })
  const processes = isSoak ? kills : Math.ceil(tries.length / AT_ONCE)
  for (let process = 0; process < processes; process++) {
    const batch = Array.from({ length: AT_ONCE }, (_, index) => tries[(process * AT_ONCE + index) % tries.length] as Try)
    await crash(t, backend, next, batch, findings)
  }
  t.strictSame([...new Set(findings.wrong)], [])
  t.comment(`${on}: ${findings.kills} processes killed, ${JSON.stringify(findings.tries)}, commands ${commands.join()}, signed out by a killed login: ${findings.signedOut}`)
  for (const master of mastersOf(backend)) {
    const keys = await master.keys('*')
    const ttls = await Promise.all(keys.map((key) => master.pttl(key)))
    t.strictSame(keys.filter((_key, index) => ttls[index] === -1), [], 'everything expires')
  }
  for (const kind of ['login', 'logout'] as const) {
    report({ scenario: `SIGKILL between two steps of ${kind}`, on, tries: findings.tries[kind], resurrected: findings.unendable[kind], lost: findings.unlisted[kind] })
    t.strictSame([findings.unendable[kind], findings.unlisted[kind]], [0, 0], kind)
  }
}

t.test('a process killed between any two steps of login and logout leaves no session that is not listed, and none that cannot be ended', async (t) => {
  const redis = await startRedis(t)
  await crashEverywhere(t, { client: redis.client, ports: [redis.port], isCluster: false }, { on: 'Redis', modes: ['unanswered', 'unsent'], nth: 1, kills: 200 })
})

t.test('nor on a Cluster, in whatever order its nodes get to know', async (t) => {
  const cluster = await startCluster(t)
  const { client } = connect({ cluster: cluster.nodes })
  t.teardown(() => client.disconnect())
  await until('the connection', () => client.status === 'ready')
  await crashEverywhere(t, { client, ports: cluster.ports, isCluster: true }, { on: 'Redis Cluster', modes: ['overtaken', 'unanswered', 'unsent'], nth: 5, kills: 50 })
})
