import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { CLOCK_MS } from './record.ts'

/** Capabilities of a store. */
export const capabilities = new Chapter()

capabilities.says('what is known without a promise lives, and is what is found', async ({ store, make }) => {
  const session = make()
  await store.begin(session)
  const found = await store.find(session.id)
  assert.deepEqual(store.findNow(session.id) ?? found, session)
  await store.delete(session.id)
  assert.equal(store.findNow(session.id), undefined)
  assert.equal(store.findNow(make().id), undefined)
}, 'findNow')

capabilities.says('the time that is certain is that of the store', async ({ store }) => {
  ok(Math.abs(await store.nowForCertain() - store.now()) < CLOCK_MS)
}, 'nowForCertain')

capabilities.says('a message reaches every process that listens, the one that sends it too', async (subject) => {
  const listeners = [subject.store, subject.other].map(({ bus }) => {
    const emitter = new EventEmitter()
    const begins = once(emitter, 'gap')
    const hears = once(emitter, 'message')
    const stop = bus.subscribe((message) => emitter.emit('message', message), () => emitter.emit('gap'))
    return { begins, hears, stop }
  })
  await Promise.all(listeners.map(({ begins }) => begins))
  await subject.store.bus.publish('ada has gone')
  assert.deepEqual(await Promise.all(listeners.map(({ hears }) => hears)), [['ada has gone'], ['ada has gone']])
  await Promise.all(listeners.map(({ stop }) => stop()))
}, 'bus')
