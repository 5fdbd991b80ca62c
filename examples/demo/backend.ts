// Where sessions live, the demo's own look at them, and the addresses that users have changed.
import { MemoryStore, storeErrors } from 'fastify-user-sessions'
import type { SessionOptions } from 'fastify-user-sessions'
import { Redis } from 'ioredis'

const PREFIX = 'sess:'
/** The key of the e-mail address of a user who has changed it. */
const emailKey = (userId: string): string => `demo:email:${userId}`
const LEFT_OUT = 'left out'

/** What the letters of a session in Redis stand for. */
const MEANINGS: Record<string, string> = {
  s: 'last used',
  h: 'hash of the secret',
  c: 'began',
  e: 'ends, however busy',
  i: 'ms without use',
  u: 'user',
  a: 'proved who they are',
  m: 'meta of the login',
  p: 'address',
  b: 'device',
  d: 'key that it is bound to'
}

/** What is stored of a session. */
export interface Stored {
  /** Where. */
  place: string
  members: Array<{ name: string, value: string, meaning?: string | undefined }>
  /** The application's data, in JSON. */
  data: string
}

export interface Backend {
  name: 'Redis' | 'memory'
  /** Options of the session plugin. */
  options: Pick<SessionOptions, 'redis' | 'store' | 'keyPrefix'>
  /** Reads what is stored of a session, without the hash of its secret. */
  read (id: string): Promise<Stored | null>
  /** Reads the address that a user has changed to. `null`: none. */
  email (userId: string): Promise<string | null>
  changeEmail (userId: string, email: string): Promise<void>
  close (): Promise<void>
}

export function openBackend (redisUrl: string | undefined): Backend {
  return redisUrl === undefined ? memory() : redis(redisUrl)
}

function memory (): Backend {
  const store = new MemoryStore()
  const emails = new Map<string, string>()
  return {
    name: 'memory',
    options: { store },
    async read (id) {
      const record = await store.find(id)
      if (record === null) return null
      const { data, ...members } = { ...record, secretHash: LEFT_OUT }
      return {
        place: 'A record of the MemoryStore',
        members: Object.entries(members).map(([name, value]) => ({ name, value: String(value) })),
        data
      }
    },
    email: async (userId) => emails.get(userId) ?? null,
    changeEmail: async (userId, email) => { emails.set(userId, email) },
    close: async () => { await store.close() }
  }
}

function redis (url: string): Backend {
  // The plugin has connections of its own. This one is for what the demo itself stores and shows.
  const client = new Redis(url, {
    commandTimeout: 2_000, maxRetriesPerRequest: 0, enableOfflineQueue: false, retryStrategy: () => 100
  })
  client.on('error', () => { /* The plugin logs that Redis is away. */ })
  /** A page that needs Redis is answered 503 without it, whoever asks. */
  const ask = async <T>(command: Promise<T>): Promise<T> => {
    return await command.catch((cause: unknown) => { throw new storeErrors.STORE_UNAVAILABLE({ cause }) })
  }
  return {
    name: 'Redis',
    options: { redis: url, keyPrefix: PREFIX },
    async read (id) {
      // Two lines of JSON: the session, and the application's data.
      const [head, data = ''] = (await ask(client.get(PREFIX + id)))?.split('\n') ?? []
      if (head === undefined) return null
      const members = Object.entries({ ...JSON.parse(head) as object, h: LEFT_OUT })
      return {
        place: `GET ${PREFIX}${id}`,
        members: members.map(([name, value]) => ({ name, value: String(value), meaning: MEANINGS[name] })),
        data
      }
    },
    email: async (userId) => await ask(client.get(emailKey(userId))),
    changeEmail: async (userId, email) => { await ask(client.set(emailKey(userId), email)) },
    close: async () => { client.disconnect() }
  }
}
