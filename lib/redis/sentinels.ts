import type { Redis } from 'ioredis'
import { isReply } from './driver-errors.ts'

interface Address { host: string, port: number }

/** As much of the driver's way to a master by Sentinel as is mended here. Its types keep all of it private. */
interface Connector {
  /** Returns whether the server is to be used. If not, another Sentinel is asked first from then on. */
  check: (info: { role: string }) => boolean
  /** Asks a Sentinel for the master. */
  resolve: (sentinel: Address) => Promise<Address | null>
  /** Listens to the Sentinels, of each new connection. */
  initFailoverDetector: () => Promise<void>
  failoverDetector: { sentinels: Array<{ address: Address, client: Redis }> } | null
}

/**
 * Leaves a server when most Sentinels that answer name another. By itself the driver leaves it when a Sentinel tells
 * of a failover, once. What was told while the driver was not listening, it never learns: the old master answers with
 * sessions that have ended until Sentinels reach it. So the Sentinels are asked whenever it begins to listen to one.
 */
export function followSentinels (client: Redis): void {
  if (client.options.sentinels == null) return
  const { connector } = client as unknown as { connector: Connector }
  const resolve = connector.resolve.bind(connector)
  const listen = connector.initFailoverDetector.bind(connector)
  let here: Address | null = null
  let asking = Promise.resolve()
  let isDue = false
  const ask = async (): Promise<void> => {
    const { stream } = client
    const sentinels = connector.failoverDetector?.sentinels ?? []
    const answers = await Promise.all(sentinels.map(({ address }) => resolve(address).catch(() => null)))
    const named = answers.filter((answer) => answer !== null)
    const others = named.filter(({ host, port }) => host !== here?.host || port !== here.port)
    if (client.status !== 'ready' || client.stream !== stream || others.length * 2 <= named.length) return
    connector.check({ role: 'left' })
    client.disconnect(true)
  }
  // Once more after what is under way, which may have been answered before.
  const heard = (): void => {
    if (isDue || client.status !== 'ready') return
    isDue = true
    asking = asking.then(async () => {
      isDue = false
      await ask()
    })
  }
  connector.resolve = async (sentinel) => {
    here = await resolve(sentinel)
    return here
  }
  connector.initFailoverDetector = async () => {
    const listening = listen()
    for (const sentinel of connector.failoverDetector?.sentinels ?? []) hear(sentinel.client, heard)
    await listening
  }
  client.on('ready', heard)
}

/**
 * Listens to a Sentinel whenever there is a connection to it, and says so. By itself the driver begins anew without
 * looking at the answer: one that is late would end the process.
 */
function hear (sentinel: Redis, heard: () => void): void {
  sentinel.options.autoResubscribe = false
  sentinel.on('ready', () => {
    sentinel.subscribe('+switch-master').then(heard, (error: unknown) => {
      // It is connected, and deaf.
      if (sentinel.status === 'ready' && !isReply(error)) sentinel.disconnect(true)
    })
  })
  // Unheard, the driver would print every failed attempt to connect.
  sentinel.on('error', () => {})
}
