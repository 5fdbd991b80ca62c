import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { DAY, idsOf, MINUTE, record } from './record.ts'

/** Ending the sessions that began with one session at an identity provider. */
export const idp = new Chapter()

const HERE = JSON.stringify(['https://idp.example', 'here'])
const THERE = JSON.stringify(['https://idp.example', 'there'])

/** Sorts ids: a store tells of ended sessions in any order. */
const sortedIds = (ended: ReadonlyArray<{ readonly id: string }>): string[] => ended.map(({ id }) => id).sort()

idp.says('sessions end by their session at an identity provider, and no others do', async (subject) => {
  const { store, other, make } = subject
  const ended = [make({ idp: HERE }), make({ idp: HERE, userId: 'bob' }), make({ idp: HERE, kind: 'bearer' })]
  const kept = [make(), make({ idp: THERE }), make({ idp: JSON.stringify(['https://other.example', 'here']) })]
  for (const each of [...ended, ...kept]) ok(await store.begin(each))
  assert.equal((await store.find(ended[0]?.id ?? ''))?.idp, HERE)
  const found = await other.deleteByIdp(HERE)
  assert.deepEqual(sortedIds(found), idsOf(ended).sort())
  assert.deepEqual(found.map(({ userId }) => userId).sort(), ['ada', 'ada', 'bob'])
  for (const each of ended) assert.equal(await store.find(each.id), null)
  for (const each of kept) assert.deepEqual(await store.find(each.id), each)
  assert.deepEqual(await store.deleteByIdp(HERE), [])
  assert.deepEqual(await store.deleteByIdp(JSON.stringify(['https://idp.example', 'unknown'])), [])
}, 'deleteByIdp')

idp.says('what ended by it is on no list of a user, and what ended otherwise is not ended by it', async (subject) => {
  const { store, make, lists } = subject
  const [first, second, third] = [make({ idp: HERE }), make({ idp: HERE }), make({ idp: HERE })]
  for (const each of [first, second]) await store.begin(each)
  await store.delete(first.id)
  await store.replace(third, second)
  assert.deepEqual(sortedIds(await store.deleteByIdp(HERE)), [third.id])
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
}, 'deleteByIdp')

idp.says('it finds sessions that were used for long, and those that moved', async ({ store, other, make, age }) => {
  const used = make({ idp: HERE, idleTimeoutMs: MINUTE, endsAt: Math.floor(store.now()) + DAY })
  const moved = make({ idp: HERE, endsAt: Math.floor(store.now()) + DAY })
  for (const each of [used, moved]) await store.begin(each)
  let last: SessionRecord = moved
  for (let times = 0; times < 5; times++) {
    await age(MINUTE - 5_000)
    assert.equal(await store.touch(await store.find(used.id) as SessionRecord), true)
    const present = await store.find(last.id) as SessionRecord
    last = { ...present, id: record().id }
    ok(await store.move(last, present))
  }
  assert.deepEqual(sortedIds(await other.deleteByIdp(HERE)), [used.id, last.id].sort())
  for (const { id } of [used, last]) assert.equal(await store.find(id), null)
}, 'deleteByIdp')

idp.says('a sign-in in place of another ends by its own session at the provider', async ({ store, make }) => {
  const [first, second, third] = [make({ idp: HERE }), make({ idp: THERE }), make()]
  await store.begin(first)
  ok(await store.move(second, first))
  assert.equal((await store.find(second.id))?.idp, THERE)
  const elsewhere = make({ idp: THERE })
  await store.begin(elsewhere)
  ok(await store.replace(third, elsewhere))
  assert.deepEqual(sortedIds(await store.deleteByIdp(THERE)), [second.id])
  assert.deepEqual(await store.find(third.id), third)
}, 'deleteByIdp')

idp.says('many end in portions, and those that began later go on', async ({ store, make }) => {
  const now = Math.floor(store.now())
  const members = { idp: HERE, createdAt: now - 1_000 }
  const many = Array.from({ length: 250 }, (_, index) => make({ ...members, userId: `user ${index}` }))
  const later = make({ idp: HERE, createdAt: now })
  await Promise.all([...many, later].map((each) => store.begin(each)))
  const told: string[] = []
  const onEnded = (ended: ReadonlyArray<{ id: string }>): void => { told.push(...ended.map(({ id }) => id)) }
  const ended = await store.deleteByIdp(HERE, { before: now - 500, onEnded })
  assert.equal(ended.length, 250)
  assert.deepEqual(told.sort(), sortedIds(ended))
  assert.deepEqual(sortedIds(await store.deleteByIdp(HERE)), [later.id])
}, 'deleteByIdp')

idp.says('sessions end by it in a full store', async ({ store, make, fill }) => {
  const session = make({ idp: HERE })
  await store.begin(session)
  await fill?.()
  await assert.rejects(store.begin(make({ idp: HERE })), { code: 'ERR_SESSION_STORE_FULL' })
  assert.deepEqual(sortedIds(await store.deleteByIdp(HERE)), [session.id])
  assert.equal(await store.find(session.id), null)
}, 'deleteByIdp', 'fill')

const ROUNDS = 200

/** Runs a race many times, twenty at once, each with a session of its own at the provider. */
const rounds = async (race: (idp: string, round: number) => Promise<void>): Promise<void> => {
  for (let round = 0; round < ROUNDS; round += 20) {
    const all = Array.from({ length: 20 }, (_, each) => round + each)
    await Promise.all(all.map((each) => race(JSON.stringify(['https://idp.example', String(each)]), each)))
  }
}

/** Lets a number of turns of the event loop pass. */
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

idp.says('a login meanwhile ends dead, or is found by it the next time', async ({ store, other, make }) => {
  const wrong: string[] = []
  await rounds(async (idp, round) => {
    const old = make({ idp })
    const session = make({ idp })
    await store.begin(old)
    const login = round % 3 === 0 ? store.replace(session, old) : store.begin(session)
    await turns(round % 7)
    await other.deleteByIdp(idp)
    const created = await login
    if (await store.find(old.id) !== null) wrong.push('the old session lives')
    const live = await store.find(session.id) !== null
    if (created === null && live) wrong.push('refused, but live')
    const ended = await store.deleteByIdp(idp)
    if (live !== ended.some(({ id }) => id === session.id)) wrong.push(live ? 'live, but not found' : 'found, but gone')
    if (await store.find(session.id) !== null) wrong.push('it lives')
  })
  assert.deepEqual(wrong, [])
}, 'deleteByIdp')

idp.says('a session that moves meanwhile ends, whatever its id is by then', async ({ store, other, make }) => {
  const wrong: string[] = []
  await rounds(async (idp, round) => {
    const first = make({ idp })
    const second = { ...first, id: record().id }
    const third = { ...first, id: record().id }
    await store.begin(first)
    const moving = store.move(second, first).then(async (moved) => {
      return moved === null ? null : await store.move(third, second)
    })
    await turns(round % 11)
    await other.deleteByIdp(idp)
    await moving
    for (const { id } of [first, second, third]) if (await store.find(id) !== null) wrong.push('it lives')
  })
  assert.deepEqual(wrong, [])
}, 'deleteByIdp', 'successor')

idp.says('of two who end the same sessions at once, each session was ended by one', async ({ store, other, make }) => {
  let wrong = 0
  await rounds(async (idp) => {
    const sessions = [make({ idp }), make({ idp })]
    for (const each of sessions) await store.begin(each)
    const ended = (await Promise.all([store.deleteByIdp(idp), other.deleteByIdp(idp)])).flat()
    if (sortedIds(ended).join() !== idsOf(sessions).sort().join()) wrong++
  })
  assert.equal(wrong, 0)
}, 'deleteByIdp')
