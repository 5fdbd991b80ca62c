import { EventEmitter } from 'node:events'
import t from 'tap'
import type { Change, DeleteOptions, ListOptions, MemoryStoreOptions, SessionRecord } from '../../lib/index.ts'
import { MemoryStore } from '../../lib/store/memory.ts'
import { testStore } from '../../lib/testing/index.ts'
import type { TestedStore, TestStoreOptions } from '../../lib/testing/index.ts'

type Store = new (options: MemoryStoreOptions) => MemoryStore
type Check = Parameters<TestStoreOptions['test']>[1]

/** Returns the tests that the suite defines for a store, by name. */
function testsOf (open: () => TestedStore): Map<string, Check> {
  const tests = new Map<string, Check>()
  testStore({ open, test: (name, check) => tests.set(name, check) })
  return tests
}

function opened (Store: Store): TestedStore {
  let now = Date.now()
  return { store: new Store({ now: () => now }), age: (ms) => { now += ms } }
}

/** A memory store with a bus, which changes messages on their way. */
const withBus = (change: (message: string) => string) => class extends MemoryStore {
  readonly bus = new class {
    readonly #emitter = new EventEmitter()

    async publish (message: string) {
      this.#emitter.emit('message', change(message))
    }

    subscribe (onMessage: (message: string) => void, onGap: () => void) {
      this.#emitter.on('message', onMessage)
      onGap()
      return async () => { this.#emitter.off('message', onMessage) }
    }
  }()
}

/** What is wrong with a store, the test that says so, and a store that passes it. */
const BROKEN: Record<string, [fails: string, Broken: Store, Sound?: Store]> = {
  'a save revives an ended session': ['an ended session is neither changed nor touched', class extends MemoryStore {
    override async update (record: SessionRecord, change: Change) {
      return await super.update(record, change) ?? await super.begin({ ...record, data: change(record.data) })
    }
  }],
  'a list forgets the newest session': ['a user\'s sessions are listed newest first, and nobody else\'s', class extends MemoryStore {
    override async listByUser (userId: string, options?: ListOptions) {
      return (await super.listByUser(userId, options)).slice(1)
    }
  }],
  'a public id is proof enough to end a session': ['by a credential only the session that it proves is ended', class extends MemoryStore {
    override async delete (id: string, { secretHash: _, ...options }: DeleteOptions = {}) {
      return await super.delete(id, options)
    }
  }],
  'a session lives on beside the one in its place': ['a session replaced by another is gone', class extends MemoryStore {
    override async replace (record: SessionRecord) {
      return await super.begin(record)
    }
  }],
  'a change is lost when its session moves': ['a session in the place of another keeps what others changed last', class extends MemoryStore {
    override async move (record: SessionRecord, old: SessionRecord) {
      return await super.move(record, old)
    }
  }],
  'use does not extend a session': ['use moves lastSeenAt and the idle timeout', class extends MemoryStore {
    override async touch ({ id }: SessionRecord) {
      return await this.find(id) !== null
    }
  }],
  'a second browser takes a bound session over': ['whoever binds a session second gets the key of the first', class extends MemoryStore {
    override async bind ({ id }: SessionRecord, boundKey: string) {
      const present = await this.find(id)
      return present && await super.bind(present, boundKey)
    }
  }],
  'a session that is bound begins again': ['a session that is absent is not bound', class extends MemoryStore {
    override async bind (record: SessionRecord, boundKey: string) {
      return await super.bind(record, boundKey) ?? await super.begin({ ...record, boundKey })
    }
  }],
  'a session that moves is bound no more': ['a session takes its key along when it moves, also one that the mover does not know', class extends MemoryStore {
    override async move (record: SessionRecord, old: SessionRecord) {
      return await super.move(record, { ...old, boundKey: 'another' })
    }
  }],
  'no limit counts': ['one session too many ends the oldest, before it is there itself', class extends MemoryStore {
    override async begin (record: SessionRecord) {
      return await super.begin(record)
    }
  }],
  'what has moved is not found by who knows its old id': ['a session that has just moved is ended by who knows only its old id', class extends MemoryStore {
    override async successor () {
      return null
    }
  }],
  'what has ended is still known': ['what is known without a promise lives, and is what is found', class extends MemoryStore {
    readonly #known = new Map<string, SessionRecord>()
    override async begin (record: SessionRecord) {
      this.#known.set(record.id, record)
      return await super.begin(record)
    }

    override findNow (id: string) {
      return this.#known.get(id)
    }
  }],
  'its certain time is that of another clock': ['the time that is certain is that of the store', class extends MemoryStore {
    async nowForCertain () {
      return this.now() + 60_000
    }
  }, class extends MemoryStore {
    async nowForCertain () {
      return this.now()
    }
  }],
  'messages do not arrive as they were sent': ['a message reaches every process that listens, the one that sends it too', withBus((message) => message.slice(1)), withBus((message) => message)],
  'it can be closed once': ['close may be called twice', class extends MemoryStore {
    #isClosed = false
    override async close () {
      if (this.#isClosed) throw new Error('closed')
      this.#isClosed = true
    }
  }]
}

for (const [fault, [name, Broken, Sound = MemoryStore]] of Object.entries(BROKEN)) {
  t.test(`the suite finds it when ${fault}`, async (t) => {
    const [sound, broken] = [Sound, Broken].map((each) => testsOf(() => opened(each)).get(name))
    const skip = (reason: string): void => { t.fail(reason) }
    await t.resolves(sound?.({ skip }) ?? Promise.reject(new Error('no such test')))
    await t.rejects(broken?.({ skip }) ?? Promise.resolve(), { code: 'ERR_ASSERTION' })
  })
}

t.test('a test that a store cannot take is skipped, and says why', async (t) => {
  const skipped: string[] = []
  const skip = (reason: string): void => { skipped.push(reason) }
  const tests = testsOf(() => opened(MemoryStore))
  const full = tests.get('a full store refuses a new session and signs nobody out')
  // Of one runner the context is an argument, of another it is `this`. A third has none.
  await full?.({ skip })
  await full?.call({ skip })
  t.capture(console, 'log', skip)
  await full?.()
  t.strictSame(skipped, ['this store has no fill', 'this store has no fill', 'skipped: this store has no fill'])
  await tests.get('close may be called twice')?.({ skip })
  t.equal(skipped.length, 3)
  // Mocha takes a parameter for a callback.
  t.strictSame([...tests.values()].filter(({ length }) => length > 0), [])
})

t.test('a store is opened and closed for each test, also where that fails', async (t) => {
  const done: string[] = []
  const tests = testsOf(() => {
    done.push('open')
    return { ...opened(MemoryStore), close: () => { done.push('close') } }
  })
  t.strictSame(done, [])
  await tests.get('a new session is found as it was stored')?.()
  t.strictSame(done, ['open', 'close'])
  const failing = testsOf(() => ({ ...opened(class extends MemoryStore { override async find () { return null } }), close: () => { done.push('close') } }))
  await t.rejects(failing.get('a new session is found as it was stored')?.() ?? Promise.resolve())
  t.strictSame(done, ['open', 'close', 'close'])
})
