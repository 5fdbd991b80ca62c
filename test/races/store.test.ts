import t from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { everyMember } from '../helpers/everything.ts'
import { record } from '../helpers/record.ts'
import { answer, atOnce, hops, leftovers, pick, rounds, startGrounds, startMixedGround, startNearGround } from '../helpers/races.ts'
import type { Arena, ListedStore } from '../helpers/races.ts'
import { report, times } from '../helpers/scale.ts'

const grounds = [...await startGrounds(t), await startMixedGround(t), await startNearGround(t)]

type Data = Record<string, unknown>

/** A change of data that adds to what is there. */
const adds = (values: Data) => (text: string): string => JSON.stringify({ ...JSON.parse(text) as Data, ...values })

/** A session that is signed out, and what is tried with it at the same time. */
class Race {
  readonly session: SessionRecord
  readonly #views: Arena['views']
  /** Ids that nobody may find when it is over. */
  readonly dead = new Set<string>()
  /** Ids of sign-ins that were confirmed: they are no part of what was signed out. */
  readonly signIns = new Set<string>()

  constructor ({ views }: Arena, userId: string | null) {
    this.#views = views
    this.session = this.make({ userId })
    this.dead.add(this.session.id)
  }

  get view (): ListedStore {
    return pick(this.#views)
  }

  make (overrides: Partial<SessionRecord> = {}): SessionRecord {
    const { userId = this.session?.userId ?? null } = overrides
    return record({ now: this.#views[0].now(), ...everyMember(userId), ...overrides, userId })
  }

  async move (from: SessionRecord): Promise<SessionRecord | null> {
    const moved = { ...from, id: this.make().id, secretHash: this.make().secretHash }
    this.dead.add(moved.id)
    return await this.view.move(moved, from, { carry: (data) => data })
  }

  async signIn (userId: string): Promise<void> {
    const next = this.make({ userId })
    const stored = await this.view.replace(next, this.session)
    if (stored === null) this.dead.add(next.id)
    else this.signIns.add(next.id)
  }
}

type Rival = (race: Race, userId: string) => Promise<unknown>

const small: Rival[] = [
  (race) => race.view.update(race.session, adds({ back: 1 })),
  (race) => race.view.touch(race.session),
  async (race) => await race.view.bind?.(race.session, 'ES256 one'),
  (race) => race.view.find(race.session.id),
  (race) => race.view.delete(race.session.id),
  async (race) => {
    const seen = await race.view.find(race.session.id)
    if (seen === null) return
    await hops()
    await Promise.all([race.view.update(seen, adds({ again: 1 })), race.view.touch(seen), race.view.bind?.(seen, 'ES256 another')])
  }
]

/** What makes of one session another. */
const large: Record<string, Rival[]> = {
  nothing: [],
  'a move': [(race) => race.move(race.session)],
  'two moves': [(race) => race.move(race.session), (race) => race.move(race.session)],
  'a move that is used': [async (race) => {
    const moved = await race.move(race.session)
    if (moved !== null) await atOnce([() => race.view.update(moved, adds({ on: 1 })), () => race.view.touch(moved), () => race.view.find(moved.id)])
  }],
  'a move and another from there': [async (race) => {
    const moved = await race.move(race.session)
    if (moved === null) return
    await hops()
    await race.move(moved)
  }],
  'a sign-in': [(race, userId) => race.signIn(userId)],
  'a sign-in and a move': [(race, userId) => race.signIn(userId), (race) => race.move(race.session)]
}

for (const { name, share, inTests, open } of grounds) {
  t.test(`a session that is signed out does not come back, whatever is done with it at the same time, on ${name}`, async (t) => {
    const arena = await open(t)
    const { views } = arena
    const tries = times(100_000 * share, 10_000 * inTests)
    const wrong: Record<string, number> = {}
    const count = (what: string) => { wrong[what] = (wrong[what] ?? 0) + 1 }
    let resurrected = 0
    const interrupted = await rounds(tries, async (round) => {
      const kind = pick(Object.keys(large))
      const userId = `ada${round}`
      // Those of nobody are not moved, but may be signed in to.
      const isAnonymous = /^(nothing|a sign-in)$/.test(kind) && round % 3 === 0
      const race = new Race(arena, isAnonymous ? null : userId)
      await race.view.begin(race.session)
      const logout = async () => {
        await race.view.delete(race.session.id)
        // Who looks after that finds nobody, however much is still under way.
        const found = await Promise.all([...race.dead].map((id) => race.view.find(id)))
        if (found.some((each) => each !== null)) {
          resurrected++
          count(`${kind}: found when the logout was done`)
        }
      }
      await atOnce([logout, ...[...small.filter(() => Math.random() < 0.4), ...large[kind] ?? []].map((rival) => () => rival(race, userId))])
      for (const view of views) {
        const found = await Promise.all([...race.dead].map((id) => view.find(id)))
        if (found.some((each) => each !== null)) {
          resurrected++
          count(`${kind}: found`)
        }
        const live = (await Promise.all([...race.signIns].map((id) => view.find(id)))).filter((each) => each !== null)
        const listed = await view.listByUser(userId)
        if (listed.some(({ id }) => !race.signIns.has(id))) count(`${kind}: listed`)
        if (live.length !== listed.length) count(`${kind}: the list and the sessions differ`)
      }
      await Promise.all([...race.signIns].map((id) => race.view.delete(id)))
    }, { isBack: () => answer(views) })
    t.comment(`${interrupted.length} of ${tries} were interrupted and done again`)
    t.strictSame(wrong, {})
    t.equal(resurrected, 0)
    t.strictSame(await leftovers(arena, interrupted.map((round) => `ada${round}`)), [], 'and nothing of them is left')
    report({ scenario: 'logout against save, touch, read, move, sign-in, at the store', on: name, tries, resurrected })
  })

  t.test(`of changes to different keys of one session none is lost, on ${name}`, async (t) => {
    const arena = await open(t)
    const { views } = arena
    const WRITERS = 100
    const sessions = times(20_000 * share, 2_000 * inTests) / WRITERS
    const lost: string[] = []
    await rounds(sessions, async (round) => {
      // Half of the keys are new, half are there and deleted.
      const there = Array.from({ length: WRITERS / 2 }, (_, key) => `old${key}`)
      const session = record({ now: views[0].now(), userId: `ada${round}`, data: JSON.stringify(Object.fromEntries(there.map((key) => [key, 1]))) })
      await views[0].begin(session)
      const fresh = Array.from({ length: WRITERS / 2 }, (_, key) => `new${key}`)
      const writers = [
        ...fresh.map((key) => () => pick(views).update(session, adds({ [key]: 1 }))),
        ...there.map((key) => () => pick(views).update(session, adds({ [key]: undefined })))
      ].map((write) => async () => { if (await write() === null) lost.push('a change was refused') })
      await atOnce([...writers, () => pick(views).touch(session), () => pick(views).find(session.id)])
      for (const view of views) {
        const data = JSON.parse((await view.find(session.id))?.data ?? '{}') as Data
        lost.push(...fresh.filter((key) => data[key] !== 1), ...there.filter((key) => key in data))
      }
    }, { atOnce: 10, isBack: () => answer(views) })
    t.equal(lost.length, 0, `lost: ${lost.slice(0, 5).join()}`)
    report({ scenario: 'changes to different keys of shared sessions, at the store', on: name, tries: sessions * WRITERS, lost: lost.length })
  })

  t.test(`what was changed while a session moved is there afterwards, on ${name}`, async (t) => {
    const arena = await open(t)
    const { views } = arena
    // Of a few, none might come before the move.
    const tries = Math.max(30, times(5_000 * share, 500 * inTests))
    const lost: string[] = []
    let confirmed = 0
    await rounds(tries, async (round) => {
      const session = record({ now: views[0].now(), userId: `ada${round}` })
      const moved = { ...session, id: record().id, data: '{"moved":1}' }
      await views[0].begin(session)
      const kept: string[] = ['moved']
      // Now and then all is sent on one connection, and one change for certain before the move.
      const one = round % 3 === 0 ? views[0] : null
      const writers = ['a', 'b', 'c', 'd'].map((key) => async () => {
        if (await (one ?? pick(views)).update(session, adds({ [key]: 1 })) !== null) kept.push(key)
      })
      const early = one === null ? undefined : writers.shift()?.()
      await atOnce([...writers, () => (one ?? pick(views)).move(moved, session, { carry: adds({ moved: 1 }) })])
      await early
      confirmed += kept.length
      const data = JSON.parse((await pick(views).find(moved.id))?.data ?? '{}') as Data
      lost.push(...kept.filter((key) => data[key] !== 1))
    }, { isBack: () => answer(views) })
    t.ok(confirmed > tries, 'some came before the move')
    t.equal(lost.length, 0, `lost: ${lost.slice(0, 5).join()}`)
    report({ scenario: 'changes while the session moves to another id, at the store', on: name, tries: confirmed, lost: lost.length })
  })

  t.test(`whoever is signed out everywhere is, whatever is begun or done at the same time, on ${name}`, async (t) => {
    const arena = await open(t)
    const { views, client, keyPrefix } = arena
    const tries = times(10_000 * share, 1_000 * inTests)
    const wrong: Record<string, number> = {}
    const count = (what: string) => { wrong[what] = (wrong[what] ?? 0) + 1 }
    let survivors = 0
    let users = new Set<string>()
    const make = (userId: string): SessionRecord => record({ now: views[0].now(), userId })

    const race = async (round: number): Promise<void> => {
      const userId = `ada${round}`
      const old = [make(userId), make(userId)]
      await Promise.all(old.map((each) => pick(views).begin(each)))
      const [first = make(userId), second = make(userId)] = old
      const ender = pick(views)
      const dead = new Set(old.map(({ id }) => id))
      const logins: Array<{ id: string, view: ListedStore, isEarlier: boolean, done: Promise<SessionRecord | null> }> = []
      let isEnding = false
      const login = async (replaces: SessionRecord | null): Promise<void> => {
        const view = pick(views)
        const session = make(userId)
        const done = replaces === null ? view.begin(session) : view.replace(session, replaces)
        logins.push({ id: session.id, view, isEarlier: !isEnding, done })
        await done
      }
      const move = async (from: SessionRecord): Promise<void> => {
        const moved = { ...from, id: make(userId).id }
        dead.add(moved.id)
        const stored = await pick(views).move(moved, from, { carry: (data) => data })
        if (stored !== null) await Promise.all([pick(views).touch(stored), pick(views).update(stored, adds({ on: 1 }))])
      }
      const end = async (): Promise<void> => {
        // What is on the list before that has begun, whoever began it; and what the same connection was given before.
        const seen = client === null || round % 2 === 0 ? [] : await client.zrange(`@${keyPrefix}user:${userId}`, '0', '-1')
        isEnding = true
        const before = logins.filter(({ id, view, isEarlier }) => isEarlier && ((view === ender && view === views[0]) || seen.some((member) => member.includes(id))))
        for (const { id } of before) dead.add(id)
        await ender.deleteByUser(userId)
      }
      await atOnce([
        end,
        () => login(null),
        () => login(null),
        () => login(pick([first, second])),
        ...round % 2 === 0 ? [() => move(first)] : [],
        () => pick(views).update(second, adds({ back: 1 })),
        () => pick(views).touch(first),
        () => pick(views).touch(second),
        () => pick(views).find(first.id),
        () => pick(views).listByUser(userId)
      ])
      const confirmed = (await Promise.all(logins.map(async ({ id, done }) => await done === null ? null : id))).filter((id) => id !== null)
      for (const view of views) {
        const found = await Promise.all([...dead].map((id) => view.find(id)))
        if (found.some((each) => each !== null)) survivors++
        const live = await Promise.all(logins.map(async ({ id }) => await view.find(id) === null ? null : id))
        if (live.some((id) => id !== null && !confirmed.includes(id))) count('refused, but live')
        const listed = (await view.listByUser(userId)).map(({ id }) => id)
        if (String(listed.sort()) !== String(live.filter((id) => id !== null).sort())) count('the list and the sessions differ')
      }
      users.add(userId)
    }

    const interrupted = await rounds(tries, race, {
      isBack: () => answer(views),
      after: async () => {
        const [view, other] = views
        const listed = (await Promise.all([...users].map((userId) => other.listByUser(userId)))).flat().map(({ id }) => id)
        const all: string[] = []
        for await (const { id, userId } of view.listAll()) if (users.has(userId ?? '')) all.push(id)
        if (all.some((id) => !listed.includes(id))) count('live, but on no list')
        if (listed.some((id) => !all.includes(id))) count('listed, but not there')
        if (client !== null) {
          const members = (await Promise.all([...users].map((userId) => client.zrange(`@${keyPrefix}user:${userId}`, '0', '-1')))).flat()
          if (members.some((member) => !listed.some((id) => member.startsWith(`${id}:`)))) count('a list holds what is gone')
        }
        await Promise.all([...users].map((userId) => pick(views).deleteByUser(userId)))
        users = new Set()
      }
    })
    t.comment(`${interrupted.length} of ${tries} were interrupted and done again`)
    t.equal(survivors, 0)
    t.strictSame(wrong, {})
    t.strictSame(await leftovers(arena, interrupted.map((round) => `ada${round}`)), [], 'and nothing of them is left')
    report({ scenario: 'revokeUser against sign-ins, moves, save, touch, read, at the store', on: name, tries, resurrected: survivors, lost: 0 })
  })
}
