import type { Redis } from 'ioredis'

/** What asks for the counts, and what every connection asks once a minute to know the time: no request's work. */
const NOT_COUNTED = ['info', 'time']

/** What a server was told to do, by name, scripts included. */
export async function counts (client: Redis): Promise<Map<string, number>> {
  const stats = (await client.info('commandstats')).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)
  return new Map([...stats].map(([, name = '', calls]) => [name, Number(calls)]))
}

/** How often each command ran at the server while `action` did, by the server's own count. */
export async function commandsDuring (client: Redis, action: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await counts(client)
  await action()
  const ran = [...await counts(client)].map(([name, calls]) => [name, calls - (before.get(name) ?? 0)] as const)
  return Object.fromEntries(ran.filter(([name, calls]) => calls > 0 && !NOT_COUNTED.includes(name)))
}

/** How many keys a server has looked for, found or not: one command may read several. */
export async function looks (client: Redis): Promise<number> {
  const found = (await client.info('stats')).matchAll(/^keyspace_(?:hits|misses):(\d+)/gm)
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0)
}

/** Everything that is in a server's first database: each key with its content. */
export async function contentsOf (client: Redis): Promise<Record<string, string | null>> {
  const keys = (await client.keys('*')).sort()
  return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, (await client.dumpBuffer(key))?.toString('base64') ?? null] as const)))
}
