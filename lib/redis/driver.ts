import type { Cluster, Redis } from 'ioredis'
import { errors, withoutFrames } from '../errors.ts'
import { GIVEN_UP_RETRY_MS, STAY_MS } from '../util/timings.ts'

/*
 * The driver is ioredis. This file says what its errors mean, and works around what it does wrong or not at all.
 */

/** Arguments that Redis repeats of a command that it does not know. */
const ARGUMENTS = /, with args beginning with:.*/

/**
 * Copies an error without the command it is about. The driver attaches the command, and some answers of Redis repeat
 * it: the password of AUTH, the session of SET. Errors end up in logs. Where in the driver they were made goes as well:
 * in an outage each request logs one. The error itself stays as it is: the driver rejects all commands that wait with
 * one and the same, those of an application that shares its client too. Returns an error that is about code as it is.
 */
export function withoutCommand<T> (error: T): T {
  if (!(error instanceof Error) || !(isReply(error) || isOutage(error))) return error
  const { command: _, stack: __, ...members } = Object.getOwnPropertyDescriptors(error) as PropertyDescriptorMap
  const { lastNodeError, errors: together } = error as { lastNodeError?: unknown, errors?: unknown }
  const each = Array.isArray(together) ? together.map(withoutCommand) : null
  // Node says of several addresses that none answers, and not which.
  const addresses = error.message === '' && each !== null ? each.map(textOf).join(', ') : ''
  const message = `${error.message.replace(ARGUMENTS, '')}${addresses}`
  const stack = `${withoutFrames(error).replace(ARGUMENTS, '')}${addresses}`
  const copy = Object.defineProperties(new Error(message), {
    ...members,
    message: hidden(message),
    stack: hidden(stack),
    // The error of a Cluster that could not connect holds the one of the node tried last.
    ...lastNodeError !== undefined && { lastNodeError: hidden(withoutCommand(lastNodeError)) },
    ...each !== null && { errors: hidden(each) }
  })
  // It has the members, and now the class, of the error.
  return Object.setPrototypeOf(copy, Object.getPrototypeOf(error) as object) as T
}

function hidden (value: unknown): PropertyDescriptor {
  return { value, writable: true, configurable: true, enumerable: false }
}

function textOf (error: unknown): string {
  return error instanceof Error ? error.message : ''
}

/** Whether Redis itself answered with this error. */
export function isReply (error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError'
}

/** Text of an error that Redis itself answered, else `''`. */
export function replyOf (error: unknown): string {
  return isReply(error) ? error.message : ''
}

/** Whether an error of ours was caused by a key that holds another type than a session's. */
export function isWrongType (error: unknown): boolean {
  return replyOf((error as { cause?: unknown } | null)?.cause).startsWith('WRONGTYPE')
}

/** Errors that are about code, and not about Redis. */
const OF_CODE = [TypeError, RangeError, ReferenceError, SyntaxError, URIError, EvalError]

/**
 * Whether Redis is out of reach: no connection, connection lost while waiting, no node known, or Redis not ready yet.
 * Programming errors do not count, nor do our own errors, which have been judged already.
 */
export function isOutage (error: unknown): boolean {
  if (isReply(error)) return /^(LOADING|CLUSTERDOWN|MASTERDOWN) /.test(error.message)
  if (OF_CODE.some((Fault) => error instanceof Fault)) return false
  return error instanceof Error && !(error instanceof errors.STORE_UNAVAILABLE)
}

/**
 * Whether Redis refused the connection for a reason that waiting does not mend. A refused database is one: the driver
 * would go on with database 0.
 */
export function isRefusal (error: unknown): boolean {
  const start = /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password|Client sent AUTH|DB index|invalid DB|SELECT))/
  return start.test(replyOf(error))
}

/** Whether Redis will answer the same next time: a refusal, but not that it is busy or loading. */
export function isLasting (error: unknown): error is Error {
  return error instanceof Error && /^(NOPERM|NOAUTH|WRONGPASS|ERR) /.test(error.message)
}

/** Times at which connections left their servers, by their `reconnectOnError`. */
const leftAt = new WeakMap<object, number>()

/**
 * Makes a `reconnectOnError` for one connection. It leaves a server that takes no writes: a demoted master would
 * answer with sessions that have ended.
 */
export function leaveReplicas (): (error: Error) => 1 | false {
  const leave = (error: Error): 1 | false => {
    const hasJustLeft = performance.now() - (leftAt.get(leave) ?? -Infinity) < STAY_MS
    if (!error.message.startsWith('READONLY') || hasJustLeft) return false
    leftAt.set(leave, performance.now())
    // Reconnect, and do not resend.
    return 1
  }
  return leave
}

/** Returns when a connection last left a server that takes no writes, by `performance.now()`; else `-Infinity`. */
export function lastLeftAt (client: Redis | Cluster): number {
  const { reconnectOnError } = ('nodes' in client ? client.options.redisOptions : client.options) ?? {}
  return leftAt.get(reconnectOnError ?? {}) ?? -Infinity
}

/**
 * Reconnects a client behind Sentinel when the driver has given up. It gives up for good when it hears of a failover
 * while it asks a Sentinel for the master.
 */
export function keepTrying (client: Redis): void {
  if (client.options.sentinels == null) return
  let isLeft = false
  let wasClosed = false
  let timer: NodeJS.Timeout | undefined
  const { disconnect } = client
  client.disconnect = (reconnect = false) => {
    isLeft ||= !reconnect
    clearTimeout(timer)
    disconnect.call(client, reconnect)
  }
  client.on('connecting', () => { wasClosed = false })
  client.on('close', () => { wasClosed = true })
  client.on('end', () => {
    // An end after `close` was asked for.
    if (!isLeft && !wasClosed) timer = setTimeout(() => { client.connect().catch(() => {}) }, GIVEN_UP_RETRY_MS)
  })
}

/**
 * Keeps a closed Cluster closed. One that is closed while it asks for its slots connects when the answer comes, and
 * forgets that it was closed.
 */
export function stayClosed (cluster: Cluster): void {
  cluster.options.clusterRetryStrategy = () => null
  cluster.on('ready', () => { cluster.disconnect() })
}

/** Part of the driver's Cluster that is worked around here, private by its types. */
interface SlotsTimer {
  clearNodesRefreshInterval: () => void
}

/**
 * Ends the questions of a closed Cluster for its slots. The driver stops the timer of the next one, and sets it again
 * when a question under way comes to its end: the process would never end.
 */
export function stopRefreshing (cluster: Cluster): void {
  // Called after the driver's own callback, or at once when no question is under way.
  cluster.refreshSlotsCache(() => { (cluster as unknown as SlotsTimer).clearNodesRefreshInterval() })
}

/**
 * Handles rejections of ASKING, which the driver leaves unhandled: one would end the process. The driver sends it to
 * a node to which a slot is moving. The command that follows fails as well, and its error is handled.
 * Returns a function that stops this for nodes to come.
 */
export function handleAsking (cluster: Cluster): () => void {
  const handled = new WeakSet<Redis>()
  const handle = (node: Redis): void => {
    if (handled.has(node)) return
    handled.add(node)
    const asking = node.asking.bind(node) as (...args: unknown[]) => Promise<'OK'>
    node.asking = (...args: unknown[]) => {
      const answer = asking(...args)
      answer.catch(() => {})
      return answer
    }
  }
  cluster.nodes().forEach(handle)
  cluster.on('+node', handle)
  return () => { cluster.off('+node', handle) }
}

interface Address { host: string, port: number }

/** Part of the driver's way to a master by Sentinel that is worked around here. Its types keep all of it private. */
interface Connector {
  /** Returns whether the server is to be used. If not, another Sentinel is asked first from then on. */
  check: (info: { role: string }) => boolean
  /** Asks a Sentinel for the master. */
  resolve: (sentinel: Address) => Promise<Address | null>
  /** Listens to the Sentinels, for each new connection. */
  initFailoverDetector: () => Promise<void>
  failoverDetector: { sentinels: Array<{ address: Address, client: Redis }> } | null
}

/**
 * Leaves a server when most Sentinels that answer name another. By itself the driver leaves it when a Sentinel tells
 * of a failover, once. It never learns what was told while it was not listening: the old master answers with sessions
 * that have ended until Sentinels reach it. So the Sentinels are asked whenever the driver begins to listen to one.
 */
export function followSentinels (client: Redis): void {
  if (client.options.sentinels == null) return
  // Private by the driver's types: see Connector.
  const { connector } = client as unknown as { connector: Connector }
  const resolve = connector.resolve.bind(connector)
  const listen = connector.initFailoverDetector.bind(connector)
  let current: Address | null = null
  let asking = Promise.resolve()
  let isDue = false
  const ask = async (): Promise<void> => {
    const { stream } = client
    const sentinels = connector.failoverDetector?.sentinels ?? []
    const answers = await Promise.all(sentinels.map(({ address }) => resolve(address).catch(() => null)))
    const named = answers.filter((answer) => answer !== null)
    const others = named.filter(({ host, port }) => host !== current?.host || port !== current.port)
    if (client.status !== 'ready' || client.stream !== stream || others.length * 2 <= named.length) return
    connector.check({ role: 'left' })
    client.disconnect(true)
  }
  // A question under way may have been answered before: ask once more after it.
  const askAgain = (): void => {
    if (isDue || client.status !== 'ready') return
    isDue = true
    asking = asking.then(async () => {
      isDue = false
      await ask()
    })
  }
  connector.resolve = async (sentinel) => {
    current = await resolve(sentinel)
    return current
  }
  connector.initFailoverDetector = async () => {
    const listening = listen()
    for (const sentinel of connector.failoverDetector?.sentinels ?? []) subscribeTo(sentinel.client, askAgain)
    await listening
  }
  client.on('ready', askAgain)
}

/**
 * Subscribes to a Sentinel whenever there is a connection to it, and calls `onSubscribed`. The driver by itself
 * subscribes again without looking at the answer: a late one would end the process.
 */
function subscribeTo (sentinel: Redis, onSubscribed: () => void): void {
  sentinel.options.autoResubscribe = false
  sentinel.on('ready', () => {
    sentinel.subscribe('+switch-master').then(onSubscribed, (error: unknown) => {
      // It is connected, and deaf.
      if (sentinel.status === 'ready' && !isReply(error)) sentinel.disconnect(true)
    })
  })
  // Without a listener the driver prints every failed attempt to connect.
  sentinel.on('error', () => {})
}
