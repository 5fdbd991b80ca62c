import type { Keys } from '../redis/keys.ts'
import type { RedisLink } from '../redis/link.ts'

/** What connect-redis calls on a node-redis client, which is the shape that lets us answer for every master. */
export function connectRedisClient (link: RedisLink, keys: Keys) {
  const each = async <T>(many: string[], one: (key: string) => Promise<T>): Promise<T[]> => await Promise.all(many.map(one))
  const expiry = (key: string, seconds: number) => link.run(key, (client) => client.expire(key, seconds))
  return {
    get: (key: string) => link.run(key, (client) => client.get(key)),
    set: (key: string, value: string, options?: { EX: number }) => link.run(key, (client) => options === undefined ? client.set(key, value) : client.set(key, value, 'EX', options.EX)),
    expire: expiry,
    del: async (many: string[]) => (await each(many, (key) => link.run(key, (client) => client.del(key)))).reduce((sum, count) => sum + count, 0),
    mGet: (many: string[]) => each(many, (key) => link.run(key, (client) => client.get(key))),
    async * scanIterator ({ COUNT }: { COUNT: number }): AsyncGenerator<string> {
      // SCAN may name a key twice while Redis rearranges them.
      const seen = new Set<string>()
      for await (const found of link.scan(keys.pattern, COUNT)) {
        for (const key of found) {
          if (!seen.has(key)) yield keys.fromScan(key)
          seen.add(key)
        }
      }
    }
  }
}
