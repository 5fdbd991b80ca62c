import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { kContext } from '../../lib/http/context.ts'
import type { PluginContext } from '../../lib/http/context.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { confirmed, pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { JUST_BOUND_MS } from '../../lib/util/timings.ts'
import { startApp } from '../helpers/app.ts'
import { BoundBrowser } from '../helpers/bound-browser.ts'
import { atOnce, hops, Interrupted, pick, rounds as roundsOf, startGrounds, startNearGround } from '../helpers/races.ts'
import type { Ground } from '../helpers/races.ts'
import { report, times } from '../helpers/scale.ts'

/*
 * Registrations and refreshes of bound sessions against what ends or moves them. Browsers do all that Chromium does: they
 * register when they are asked to, and forget their side when they are told to.
 */

const grounds = [...await startGrounds(t), await startNearGround(t)]

/** How long an answer of the store is waited for, about. */
const GIVEN_UP_MS = 450
/** The processes whose store does not answer in time. */
const down = new Set<FastifyInstance>()

/** No type says what stands under the name of this symbol. */
const contextOf = (app: FastifyInstance): PluginContext => (app as unknown as { [kContext]: PluginContext })[kContext]

/** One process of the application; what its routes do begins after a while of its own. */
async function startProcess (t: Test, options: Partial<SessionOptions>, mismatches: unknown[]): Promise<FastifyInstance> {
  const app = await startApp(t, { deviceBound: true, cookie: { secure: true }, ...options }, { logger: false, trustProxy: '127.0.0.1' })
  app.addHook('preHandler', () => hops(4))
  app.sessions.on('store-down', () => down.add(app))
  app.sessions.on('store-up', () => down.delete(app))
  app.sessions.on('device-mismatch', (event) => mismatches.push(event))
  app.addHook('onClose', async () => { down.delete(app) })
  app.post<{ Params: { id: string } }>('/login/:id', async (request) => await app.login(request, { id: request.params.id }))
  app.post<{ Params: { id: string } }>('/assign/:id', async ({ session, params }) => { session.userId = params.id })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
  app.post('/me', async ({ auth }) => ({ user: auth?.userId ?? null, bound: auth?.deviceBound ?? false }))
  return app
}

/** A browser whose every request goes to one of the processes. */
class Racer extends BoundBrowser {
  readonly #apps: readonly FastifyInstance[]

  constructor (apps: readonly FastifyInstance[]) {
    super(pick(apps))
    this.#apps = apps
  }

  override async request (method: 'GET' | 'POST', url: string, options?: InjectOptions): Promise<LightMyRequestResponse> {
    const sentAt = performance.now()
    const app = this.app = pick(this.#apps)
    const response = await super.request(method, url, options)
    // The store's deadline, or that of the request: no race makes anybody wait so long.
    if (response.statusCode === 503 && (performance.now() - sentAt > GIVEN_UP_MS || down.has(app))) throw new Interrupted()
    return response
  }

  get id (): string | null {
    return this.cookies.get('__Host-sid')?.slice(0, 22) ?? null
  }

  /** Another browser with the same cookies, that is asked what this one is. */
  copy (): Racer {
    const copy = new Racer(this.#apps)
    for (const [name, value] of this.cookies) copy.cookies.set(name, value)
    copy.asked = this.asked
    return copy
  }

  async me (): Promise<{ user: string | null, bound: boolean }> {
    return (await this.post('/me')).json()
  }
}

/** What went wrong, and how often. */
class Tally {
  readonly wrong: Record<string, number> = {}

  count (what: string): void {
    this.wrong[what] = (this.wrong[what] ?? 0) + 1
  }

  /** Whether it was answered by one of these. */
  check (what: string, { statusCode }: LightMyRequestResponse, others: number[] = []): void {
    if (statusCode !== 200 && !others.includes(statusCode)) this.count(`${what} was answered ${statusCode}`)
  }
}

/** Everything that a race needs. */
interface Service {
  apps: readonly FastifyInstance[]
  tally: Tally
  /** Whose requests were taken for a thief's. */
  mismatches: unknown[]
  /** The session as the store has it. */
  stored: (id: string | null) => Promise<SessionRecord | null>
}

async function startService (t: Test, { options, processes }: Ground): Promise<Service> {
  const mismatches: unknown[] = []
  const given = options()
  const apps = [await startProcess(t, given, mismatches), ...processes !== undefined ? [] : [await startProcess(t, given, mismatches)]]
  const tally = new Tally()
  const { store } = contextOf(apps[0] as FastifyInstance).core.options
  return { apps, tally, mismatches, stored: async (id) => id === null ? null : await store.find(id, { fresh: true }) }
}

/** A browser that has signed in; `bound` and confirmed, if that is wanted. */
async function signIn (apps: readonly FastifyInstance[], user: string, { bound }: { bound: boolean }): Promise<Racer> {
  const browser = new Racer(apps)
  if ((await browser.post(`/login/${user}`)).statusCode !== 200) throw new Error('the sign-in failed')
  if (!bound) return browser
  if ((await browser.register()).statusCode !== 200) throw new Error('the registration failed')
  await browser.post('/me')
  return browser
}

/** That a session has ended, whoever asks. */
async function assertEnded ({ tally, stored }: Service, browser: Racer, id: string | null): Promise<void> {
  if (await stored(id) !== null) tally.count('a session that was ended lives')
  if ((await browser.me()).user !== null) tally.count('somebody is signed in')
  const registered = await browser.register()
  if (registered.statusCode !== 401) tally.count(`its registration was answered ${registered.statusCode}`)
  browser.loseShortCookie()
  if (browser.bound !== null) tally.check('its last refresh', await browser.refresh(), [401])
  if (browser.bound !== null) tally.count('the browser keeps its side')
  if (await stored(id) !== null) tally.count('a session that was ended is back')
}

/**
 * Has a browser do all it was asked to meanwhile, and looks whether it is bound to a session of this user with the one key
 * that it holds.
 */
async function assertBound ({ tally, stored }: Service, browser: Racer, user: string): Promise<void> {
  const present = await stored(browser.id)
  if (present?.userId !== user) return tally.count('another is signed in, or nobody')
  const { key: held } = browser
  const bound = readBoundKey(present.boundKey)
  // Only a registration that was answered with 200 has made this its key.
  if (bound !== null && (bound.key !== held || browser.bound?.id !== bound.identifier)) tally.count('it is bound to a key that its browser does not hold')
  if (bound === null) tally.check('the registration that it was asked for', await browser.register())
  if (browser.bound === null) return tally.count('its browser was told to forget it')
  tally.check('the next refresh', await browser.refresh())
  const { user: who, bound: isBound } = await browser.me()
  if (who !== user || !isBound) tally.count('its browser does not show that it is that device')
  const after = readBoundKey((await stored(browser.id))?.boundKey ?? null)
  if (after?.key !== browser.key || !after.isConfirmed) tally.count('it is not bound for good')
}

/** Few at once: what a request may wait for the store is not to be used up by its neighbours. */
const rounds = async (count: number, race: (round: number) => Promise<void>): Promise<void> => { await roundsOf(count, race, { atOnce: 8, isBack: () => down.size === 0 }) }

type Race = (service: Service, user: string, round: number) => Promise<void>

/** What else a browser does meanwhile. A change would begin another session, where it comes too late. */
const others = (browser: Racer): Array<() => Promise<unknown>> => Math.random() < 0.5 ? [] : [() => browser.post('/me')]

const RACES: Record<string, Race> = {
  'registration against logout': async (service, user) => {
    const browser = await signIn(service.apps, user, { bound: false })
    const { id } = browser
    await atOnce([
      async () => service.tally.check('the registration', await browser.register(), [401]),
      async () => service.tally.check('the logout', await browser.post('/logout')),
      () => browser.post('/me')
    ])
    await assertEnded(service, browser, id)
  },

  'registration against revokeUser': async (service, user) => {
    const browser = await signIn(service.apps, user, { bound: false })
    const { id } = browser
    await atOnce([
      async () => service.tally.check('the registration', await browser.register(), [401]),
      () => pick(service.apps).sessions.revokeUser(user),
      () => browser.post('/me')
    ])
    await assertEnded(service, browser, id)
    if ((await pick(service.apps).sessions.listByUser(user)).length > 0) service.tally.count('it is listed')
  },

  'registration against regeneration': async (service, user) => {
    const browser = await signIn(service.apps, user, { bound: false })
    const { id } = browser
    await atOnce([
      async () => service.tally.check('the registration', await browser.register(), [401]),
      async () => service.tally.check('the regeneration', await browser.post('/regenerate')),
      ...others(browser)
    ])
    if (await service.stored(id) !== null) service.tally.count('the old session lives')
    await assertBound(service, browser, user)
  },

  'a late registration against a regeneration': async (service, user) => {
    const { stored, tally } = service
    const browser = await signIn(service.apps, user, { bound: false })
    // What another registration reads, which is held up until this browser has bound the session and used it.
    const before = await stored(browser.id) as SessionRecord
    tally.check('the registration', await browser.register())
    tally.check('its use', await browser.post('/me'))
    const { core } = contextOf(pick(service.apps))
    const late = pendingKey('ES256 of-a-browser that-is-late', core.now())
    await atOnce([
      async () => { if ((await core.bind(before, late))?.boundKey === late) tally.count('the late one is bound') },
      async () => tally.check('the regeneration', await browser.post('/regenerate')),
      ...others(browser)
    ])
    await assertBound(service, browser, user)
  },

  'registration against a sign-in over it': async (service, user, round) => {
    const browser = await signIn(service.apps, user, { bound: false })
    const { id } = browser
    const next = round % 2 === 0 ? user : `bob${round}`
    const { asked } = browser
    let isForOld = false
    await atOnce([
      async () => {
        // Else it does already what the sign-in has asked for.
        isForOld = browser.asked === asked
        service.tally.check('the registration', await browser.register(), [401])
      },
      async () => service.tally.check('the sign-in', await browser.post(`${pick(['/login', '/assign'])}/${next}`))
    ])
    if (await service.stored(id) !== null) service.tally.count('the old session lives')
    const key = (await service.stored(browser.id))?.boundKey
    if (isForOld && next !== user && key !== null) service.tally.count('another user\'s session has the key')
    // What was bound has ended: it is told so, and does what the sign-in asked for.
    if (key === null && browser.bound !== null) service.tally.check('a refresh of what has ended', await browser.refresh(), [401])
    await assertBound(service, browser, next)
  },

  'two registrations at once': async (service, user) => {
    const browser = await signIn(service.apps, user, { bound: false })
    const both = [browser, browser.copy()] as const
    const won: Racer[] = []
    await atOnce(both.map((each) => async () => {
      const { statusCode } = await each.register()
      if (statusCode === 200) won.push(each)
      else if (statusCode !== 409) service.tally.count(`the registration was answered ${statusCode}`)
    }))
    if (won.length !== 1) service.tally.count(`${won.length} registrations succeeded`)
    const [winner = browser] = won
    for (const each of both) {
      const { user: who, bound } = await each.me()
      if (who !== user || bound !== (each === winner)) service.tally.count('the wrong one is bound')
    }
    await assertBound(service, winner, user)
  },

  'refresh against revokeUser': async (service, user) => {
    const browser = await signIn(service.apps, user, { bound: true })
    const { id } = browser
    await atOnce([
      async () => service.tally.check('the refresh', await browser.refresh(), [401, 429]),
      () => pick(service.apps).sessions.revokeUser(user),
      ...others(browser)
    ])
    await assertEnded(service, browser, id)
  },

  'refresh against regeneration': async (service, user, round) => {
    const browser = await signIn(service.apps, user, { bound: true })
    const { id } = browser
    if (round % 2 === 0) browser.loseShortCookie()
    await atOnce([
      async () => service.tally.check('the refresh', await browser.refresh(), [429]),
      async () => service.tally.check('the regeneration', await browser.post('/regenerate')),
      ...others(browser)
    ])
    if (await service.stored(id) !== null) service.tally.count('the old session lives')
    await assertBound(service, browser, user)
  },

  'refresh against a sign-in over it': async (service, user, round) => {
    const browser = await signIn(service.apps, user, { bound: true })
    const { id } = browser
    const next = round % 2 === 0 ? user : `bob${round}`
    if (round % 3 === 0) browser.loseShortCookie()
    const isProven = browser.cookies.has('__Host-sid-bound')
    browser.asked = undefined
    await atOnce([
      async () => service.tally.check('the refresh', await browser.refresh(), isProven && next === user ? [429] : [401, 429]),
      async () => service.tally.check('the sign-in', await browser.post(`${pick(['/login', '/assign'])}/${next}`)),
      ...others(browser)
    ])
    if (await service.stored(id) !== null) service.tally.count('the old session lives')
    const { boundKey = null } = await service.stored(browser.id) ?? {}
    if (next !== user && boundKey !== null) service.tally.count('another user\'s session has the key')
    if ((boundKey === null) !== (browser.asked !== undefined)) service.tally.count('the sign-in asked for a registration where there is a key, or not where there is none')
    // Without the short cookie it may have been told to forget the key that a sign-in of the same user keeps. It is as one
    // that has lost its key then, which has to sign in anew.
    if (!isProven && next === user && boundKey !== null && browser.bound === null) {
      service.tally.check('the logout', await browser.post('/logout'))
      service.tally.check('the sign-in anew', await browser.post(`/login/${user}`))
    }
    await assertBound(service, browser, next)
  },

  'confirmation against a second registration': async (service, user, round) => {
    const { stored, tally } = service
    const browser = await signIn(service.apps, user, { bound: false })
    const second = browser.copy()
    // As if it had registered more than 30 s ago, and had been silent since.
    const { core, device } = contextOf(pick(service.apps))
    const before = await stored(browser.id) as SessionRecord
    const boundKey = pendingKey('ES256 of-a-browser that-is-silent', core.now() - JUST_BOUND_MS - 1_000)
    const bound = readBoundKey(boundKey)
    if (await core.bind(before, boundKey) === null || bound === null || device === null) throw new Error('the key was not stored')
    browser.cookies.set('__Host-sid-bound', device.binding.shortCookie(bound, core.now()).value)
    let [registered, isBound] = [0, false]
    const signsIn = round % 3 === 0
    await atOnce([
      async () => { registered = (await second.register()).statusCode },
      async () => {
        const response = await browser.post(signsIn ? `/login/${user}` : '/me')
        tally.check('its use', response)
        isBound = !signsIn && response.json<{ bound: boolean }>().bound
      },
      () => browser.post('/me')
    ])
    const key = (await stored(browser.id))?.boundKey ?? null
    if (signsIn) {
      if (key !== null && readBoundKey(key)?.identifier !== bound.identifier) tally.count('a sign-in got the key of another browser')
    } else if (registered === 200) {
      if (isBound) tally.count('both are bound')
      if (readBoundKey(key)?.key !== second.key) tally.count('it is bound to another key than it says')
      await assertBound(service, second, user)
    } else {
      if (registered !== 409) tally.count(`the registration was answered ${registered}`)
      if (key !== confirmed(boundKey)) tally.count('it is not bound to the one that confirmed')
      if (!(await browser.me()).bound) tally.count('who confirmed it is not bound')
    }
  }
}

for (const ground of grounds) {
  for (const [scenario, race] of Object.entries(RACES)) {
    t.test(`a session is bound to no key but one that its browser holds, and its end is its key's: ${scenario}, on ${ground.name}`, async (t) => {
      const service = await startService(t, ground)
      const tries = times(Math.ceil(950 * ground.share), Math.ceil(400 * ground.inTests))
      await rounds(tries, async (round) => { await race(service, `ada${round}`, round) })
      t.strictSame(service.tally.wrong, {})
      t.strictSame(service.mismatches, [], 'nobody is taken for a thief')
      report({ scenario: `bound sessions: ${scenario}`, on: ground.name, tries, resurrected: 0, lost: 0 })
    })
  }
}
