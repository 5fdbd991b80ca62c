import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { History, sessionsOf } from '../helpers/history.ts'
import type { Known } from '../helpers/history.ts'
import type { Member } from '../helpers/member.ts'
import { until } from '../helpers/redis.ts'

export type Service = FastifyInstance & { lines: LogLine[], causes: string[] }

/** What a load asks: a service in this process, or one elsewhere. */
export interface Asked {
  inject: (request: { method: 'GET' | 'POST', url: string, headers?: Record<string, string> }) => Promise<{ statusCode: number, body: string, cookies: Array<{ name: string, value: string }> }>
  /** What its driver said since the last look. */
  causes: string[]
}

/** An application in which one signs in, reads, keeps something, signs out, and is signed out by others. */
export async function startService (t: Test, options: Partial<SessionOptions>): Promise<Service> {
  const app = await startApp(t, options, { logger: false })
  const causes: string[] = []
  // What the driver said, which no answer does.
  app.addHook('onError', async (_request, _reply, error) => {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) causes.push(cause.message)
  })
  addRoutes(app)
  return Object.assign(app, { causes })
}

/** All that people do there. */
export function addRoutes (app: FastifyInstance): void {
  const own = { preHandler: app.authenticate }
  app.post<{ Params: { user: string } }>('/login/:user', async (request) => ({ id: (await app.login(request, { id: request.params.user })).id }))
  app.get('/me', own, async (request) => request.requireAuth().userId)
  app.post('/save', own, async (request) => { request.session.visits = Number(request.session.visits ?? 0) + 1 })
  app.post('/logout', async (request, reply) => {
    await app.logout(request)
    await reply.code(204).send()
  })
  app.post<{ Params: { id: string } }>('/revoke/:id', async (request) => ({ ended: await app.sessions.revoke(request.params.id) }))
  app.post<{ Params: { user: string } }>('/revoke-user/:user', async (request) => ({ ended: await app.sessions.revokeUser(request.params.user) }))
}

export interface Fault {
  name: string
  /** Makes the master fail, and gives what ends the fault once another has taken over. `begins` is called if it has to be prepared. */
  strike: (master: Member, begins?: () => void) => Promise<(() => void) | undefined>
}

/** Who was signed in, and by what they prove it. */
export interface Visitor { id: string, userId: string, cookie: string }

interface Answer { status: number, body: string, cookie: string, began: number, answered: number }

const LOOK_EVERY_MS = 5
const VISITORS_AT_ONCE = 8
const PAUSE_MS = 8
/** How many of the latest sessions that have ended are asked for. */
const LATEST = 100
/** How many people stay signed in; each of the others is signed out by somebody. */
const SIGNED_IN = 200
const USERS = 30
/** How long a process may take to end what it could not, once it can. */
const SETTLED_WITHIN_MS = 5_000
const BATCH = 20
/** What ends one session after the other. */
const LONG_WORK = '/revoke-user'
/** What requests may be answered here. */
const STATUSES = [200, 204, 401, 503]

/** People who use several processes of one service, all the time, and what came of it. */
export class Load {
  readonly history = new History()
  /** How often each route answered what. */
  readonly answers: Record<string, number> = {}
  /** How often the driver said what. */
  readonly causes: Record<string, number> = {}
  /** Answers that nobody may get. */
  readonly wrong: string[] = []
  requests = 0
  /**
   * The longest that anybody waited, without the time in which this very process was kept from running. Of long work,
   * which goes on as long as each step comes in a request's time, half: it takes twice that where it stops after a step.
   */
  slowestMs = 0
  /** What was asked and answered then. */
  slowest = ''
  readonly #services: Asked[]
  readonly #pauseMs: number
  readonly #visitors: Visitor[] = []
  /** Whose end nobody has asked for. */
  readonly #live: Visitor[] = []
  readonly #ended: Visitor[] = []
  /** Whom nobody ever signs out. */
  readonly #kept: Visitor[] = []
  readonly #unconfirmed: Visitor[] = []
  /** Of each service, when its latest login that was answered 200 had begun. */
  readonly #served: number[]
  readonly #workers: Array<Promise<void>> = []
  #keptMs = 0
  #lookedAt = performance.now()
  #looks: NodeJS.Timeout | undefined
  #running = false

  /** `pauseMs`: how long each visitor rests between two requests. */
  constructor (t: Test, services: Asked[], { pauseMs = PAUSE_MS } = {}) {
    this.#pauseMs = pauseMs
    this.#services = services
    this.#served = services.map(() => -Infinity)
    t.teardown(async () => { await this.stop() })
  }

  start (): void {
    this.#running = true
    this.#lookedAt = performance.now()
    this.#looks = setInterval(() => this.#tick(), LOOK_EVERY_MS)
    for (let visitor = 0; visitor < VISITORS_AT_ONCE; visitor++) this.#workers.push(this.#work())
  }

  async stop (): Promise<void> {
    this.#running = false
    await Promise.all(this.#workers.splice(0))
    clearInterval(this.#looks)
  }

  /** When every service had answered a login that began after `at`, in ms as of `performance.now()`. */
  async served (at: number, ms = 20_000): Promise<number> {
    await until('service', () => this.#served.every((began) => began > at), ms)
    return performance.now()
  }

  /** Once all is well again: looks at every session there ever was, in every service. */
  async settle (): Promise<void> {
    await this.stop()
    // What was not confirmed is asked for again by the process that was asked. No answer is no end: the connection for
    // reads may come back later than the one that a login was answered on.
    const isOver = async (visitor: Visitor): Promise<boolean> => (await this.read(visitor)).every((status) => status === 401)
    await inBatches(this.#unconfirmed, async (visitor) => {
      await until('the end of what somebody asked to end', async () => await isOver(visitor), SETTLED_WITHIN_MS).catch(() => {})
    })
    await inBatches(this.#visitors, async (visitor) => {
      const isRead = async (): Promise<boolean> => !(await this.read(visitor, { final: true })).includes(503)
      await until('every process to say whether a session is there', isRead, SETTLED_WITHIN_MS)
    })
  }

  /** What happened, for whoever wonders. */
  get summary (): string {
    const { resurrected, lost, unended } = this.history.check()
    return JSON.stringify({ ...this.causes, ...this.answers, ...this.history.counts, slowestMs: this.slowestMs, slowest: this.slowest, resurrected: sessionsOf(resurrected), lost: sessionsOf(lost), unended: sessionsOf(unended) })
  }

  async #work (): Promise<void> {
    while (this.#running) {
      await this.#act(Math.floor(Math.random() * this.#services.length))
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs))
    }
  }

  /** Signs somebody in; `null` when that was not confirmed. */
  async login (index = 0, userId = `user ${Math.floor(Math.random() * USERS)}`): Promise<Visitor | null> {
    const { status, body, cookie, ...span } = await this.#ask(this.#services[index] as Asked, 'POST', `/login/${encodeURIComponent(userId)}`, '/login')
    if (status !== 200) return null
    const { id } = JSON.parse(body) as { id: string }
    const visitor = { id, userId, cookie }
    this.history.login(id, userId, span)
    this.#visitors.push(visitor)
    this.#served[index] = Math.max(this.#served[index] ?? 0, span.began)
    return visitor
  }

  /** Reads as `visitor`; the status of each service. */
  async read ({ id, cookie }: Visitor, { final = false } = {}): Promise<number[]> {
    return await Promise.all(this.#services.map(async (service) => {
      const { status, ...span } = await this.#ask(service, 'GET', '/me', '/me', cookie)
      this.history.read(id, found(status), span, { final })
      return status
    }))
  }

  /** Signs `visitor` out. Returns whether that was confirmed. */
  async logout (visitor: Visitor, index = 0): Promise<boolean> {
    const service = this.#services[index] as Asked
    return this.#noteEnd(visitor, await this.#ask(service, 'POST', '/logout', '/logout', visitor.cookie))
  }

  async #act (index: number): Promise<void> {
    const service = this.#services[index] as Asked
    const die = Math.random()
    const isFull = this.#live.length >= SIGNED_IN
    if (this.#live.length === 0 || die < (isFull ? 0.1 : 0.25)) {
      const keeps = Math.random() < 0.4
      const visitor = await this.login(index, keeps ? `keeper ${Math.floor(Math.random() * USERS)}` : undefined)
      if (visitor !== null) (keeps ? this.#kept : this.#live).push(visitor)
    } else if (die < 0.4) {
      const visitor = oneOf(this.#ended.slice(-LATEST))
      if (visitor !== undefined) await this.#look({ at: visitor, on: service })
    } else if (die < 0.72) {
      await this.#look({ at: oneOf(Math.random() < 0.5 ? this.#live : this.#kept) ?? oneOf(this.#live) as Visitor, on: service })
    } else if (die < 0.85) {
      await this.#ask(service, 'POST', '/save', '/save', (oneOf(this.#live) as Visitor).cookie)
    } else {
      await this.#end(index, die)
    }
  }

  async #look ({ at: { id, cookie }, on }: { at: Visitor, on: Asked }): Promise<void> {
    const { status, ...span } = await this.#ask(on, 'GET', '/me', '/me', cookie)
    this.history.read(id, found(status), span)
  }

  async #end (index: number, die: number): Promise<void> {
    const visitor = oneOf(this.#live) as Visitor
    const { userId } = visitor
    const isAll = die >= 0.99
    for (const each of isAll ? this.#live.filter((other) => other.userId === userId) : [visitor]) {
      this.#live.splice(this.#live.indexOf(each), 1)
      this.#ended.push(each)
    }
    if (isAll) {
      const url = `/revoke-user/${encodeURIComponent(userId)}`
      const { status, ...span } = await this.#ask(this.#services[index] as Asked, 'POST', url, '/revoke-user')
      this.history.endOfUser(userId, status !== 503, span)
    } else {
      await (die < 0.94 ? this.logout(visitor, index) : this.#revoke(visitor, index))
    }
  }

  async #revoke (visitor: Visitor, index: number): Promise<boolean> {
    const service = this.#services[index] as Asked
    return this.#noteEnd(visitor, await this.#ask(service, 'POST', `/revoke/${visitor.id}`, '/revoke'))
  }

  /** Keeps what an end was answered. Returns whether it was confirmed. */
  #noteEnd (visitor: Visitor, { status, ...span }: Answer): boolean {
    const isConfirmed = status !== 503
    this.history.end(visitor.id, isConfirmed, span)
    if (!isConfirmed) this.#unconfirmed.push(visitor)
    return isConfirmed
  }

  async #ask (service: Asked, method: 'GET' | 'POST', url: string, route: string, cookie = ''): Promise<Answer> {
    const began = performance.now()
    this.#tick()
    const keptMs = this.#keptMs
    const response = await service.inject({ method, url, ...cookie !== '' && { headers: { cookie } } })
    this.#tick()
    const answered = performance.now()
    const { statusCode: status, body } = response
    this.requests++
    if (service.causes.some((cause) => cause.includes('CROSSSLOT'))) this.wrong.push(`${route}: ${service.causes.join(', ')}`)
    for (const cause of new Set(service.causes.splice(0))) this.causes[cause] = (this.causes[cause] ?? 0) + 1
    const key = `${route} ${status}`
    const ms = (answered - began - (this.#keptMs - keptMs)) / (route === LONG_WORK ? 2 : 1)
    if (ms > this.slowestMs) [this.slowestMs, this.slowest] = [ms, key]
    this.answers[key] = (this.answers[key] ?? 0) + 1
    if (!STATUSES.includes(status)) this.wrong.push(`${key} ${body}`)
    const [set] = response.cookies
    return { status, body, cookie: set === undefined ? '' : `${set.name}=${set.value}`, began, answered }
  }

  /** A timer that is late was kept waiting by this process itself, or by others on the machine. */
  #tick (): void {
    const now = performance.now()
    this.#keptMs += Math.max(0, now - this.#lookedAt - LOOK_EVERY_MS)
    this.#lookedAt = now
  }
}

async function inBatches<T> (values: T[], task: (value: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < values.length; from += BATCH) await Promise.all(values.slice(from, from + BATCH).map(task))
}

function oneOf<T> (values: T[]): T | undefined {
  return values[Math.floor(Math.random() * values.length)]
}

function found (status: number): Known {
  return status === 503 ? null : status === 200
}
