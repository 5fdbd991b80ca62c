import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import type { Test } from 'tap'
import { disconnectNow } from '../../lib/redis/connection.ts'
import { findServer } from './redis-binary.ts'

export const HOST = '127.0.0.1'
const START_WITHIN_MS = 10_000

/** What `t.teardown` is all that is needed of a test. */
export type Owner = Pick<Test, 'teardown'>

export interface TestRedis {
  port: number
  url: string
  /** For assertions: waits through a pause or a restart. */
  client: Redis
  /** Freezes the server: connections stay, answers do not come. */
  pause (): void
  resume (): void
  /** Kills the server. */
  stop (): Promise<void>
  /** Starts it again on the same port, empty. */
  restart (): Promise<void>
}

export interface TestCluster {
  nodes: Array<{ host: string, port: number }>
  ports: number[]
  client: Cluster
}

/** A key prefix that no other test has. */
export function prefix (): string {
  return `t${randomBytes(4).toString('hex')}:`
}

/**
 * A directory for a server's files, in memory where there is such a place: a node of a Cluster waits for the disk at
 * each slot that moves, which takes as long as the disk is busy.
 */
export async function newDirectory (): Promise<string> {
  const parent = await access('/dev/shm', constants.W_OK).then(() => '/dev/shm', tmpdir)
  return await mkdtemp(join(parent, 'fus-redis-'))
}

/** A Redis of this test's own, without persistence, gone when the test ends. */
export async function startRedis (t: Owner, { args = [] }: { args?: string[] } = {}): Promise<TestRedis> {
  const directory = await newDirectory()
  let server: ChildProcess | undefined
  let client: Redis | undefined
  t.teardown(async () => {
    client?.disconnect()
    if (server !== undefined) await kill(server)
    await rm(directory, { recursive: true, force: true })
  })
  const start = async (port: number) => {
    server = await launch(directory, port, args)
    client ??= assertions(port)
    await answers(client, server)
  }
  let port = 0
  for (let attempt = 0; client === undefined; attempt++) {
    port = await freePort()
    await start(port).catch((error: unknown) => {
      // Somebody else took the port between our asking and Redis' taking it.
      client?.disconnect()
      client = undefined
      if (attempt === 3) throw error
    })
  }
  return {
    port,
    url: `redis://${HOST}:${port}`,
    client,
    pause: () => { server?.kill('SIGSTOP') },
    resume: () => { server?.kill('SIGCONT') },
    stop: async () => { if (server !== undefined) await kill(server) },
    restart: async () => {
      if (server !== undefined) await kill(server)
      await start(port)
    }
  }
}

/** A Cluster of masters without replicas, every slot served. */
export async function startCluster (t: Owner, { masters = 3 }: { masters?: number } = {}): Promise<TestCluster> {
  const servers = await Promise.all(Array.from({ length: masters }, async (_, index) => {
    const bus = await freePort()
    return await startRedis(t, {
      args: ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '2000', '--cluster-config-file', `nodes-${index}.conf`]
    }).then((server) => ({ ...server, bus }))
  }))
  const slotsEach = Math.ceil(16384 / masters)
  await Promise.all(servers.map(async ({ client }, index) => {
    await client.call('CLUSTER', 'ADDSLOTSRANGE', index * slotsEach, Math.min((index + 1) * slotsEach, 16384) - 1)
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
  }))
  await meet(servers)
  await until('the cluster to be complete', async () => {
    const infos = await Promise.all(servers.map(({ client }) => client.call('CLUSTER', 'INFO') as Promise<string>))
    return infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${masters}\r`) && info.includes(`cluster_size:${masters}\r`))
  })
  const ports = servers.map(({ port }) => port)
  const nodes = ports.map((port) => ({ host: HOST, port }))
  const client = new Cluster(nodes)
  client.on('error', () => {})
  // Before the servers' own teardown: tap runs the last one first.
  t.teardown(() => disconnectNow(client))
  await client.ping()
  return { nodes, ports, client }
}

/**
 * Has the first of these nodes know all others, who hear of each other from it. Asks again for whoever is missing: a node
 * forgets whom it was to meet if that one does not answer within the node timeout, as on a machine that stands still.
 */
export async function meet (nodes: Array<{ port: number, client: Redis, bus: number }>): Promise<void> {
  const [first, ...others] = nodes
  await until('the nodes to meet', async () => {
    const known = (await first?.client.call('CLUSTER', 'NODES') as string).split('\n')
    const missing = others.filter(({ port, bus }) => !known.some((line) => line.includes(` ${HOST}:${port}@${bus}`)))
    for (const { port, bus } of missing) await first?.client.call('CLUSTER', 'MEET', HOST, port, bus)
    return missing.length === 0 && !known.some((line) => line.includes('handshake'))
  })
}

/** Polls a condition. */
export async function until (what: string, condition: () => Promise<boolean> | boolean, ms = START_WITHIN_MS): Promise<void> {
  const giveUpAt = Date.now() + ms
  while (!await condition()) {
    if (Date.now() > giveUpAt) throw new Error(`waited ${ms} ms in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Waits until a replica has all, and its master knows. */
export async function follows (replica: TestRedis, master: TestRedis): Promise<void> {
  await until('the replica to follow', async () => (await replica.client.info('replication')).includes('master_link_status:up'))
  await until('the master to hear of it', async () => await master.client.wait(1, 100) === 1)
}

/** A client of a test's own: waits for its server as long as it takes. */
export function assertions (port: number): Redis {
  const client = new Redis({ host: HOST, port, retryStrategy: () => 10, maxRetriesPerRequest: null })
  client.on('error', () => {})
  return client
}

/** Waits for the first PONG, or for the server's end. */
async function answers (client: Redis, server: ChildProcess): Promise<void> {
  const stop = new AbortController()
  try {
    await Promise.race([
      client.ping(),
      once(server, 'exit', { signal: stop.signal }).then(() => { throw new Error('redis-server ended at its start') }),
      until('redis-server', () => stop.signal.aborted).then(() => {})
    ])
  } finally {
    stop.abort()
  }
}

async function launch (directory: string, port: number, args: string[]): Promise<ChildProcess> {
  return await launchWith(['--bind', HOST, '--port', String(port), '--dir', directory, '--save', '', '--appendonly', 'no', '--daemonize', 'no', ...args])
}

/** A server that ends with this process. */
export async function launchWith (args: string[]): Promise<ChildProcess> {
  const { path, env } = await findServer()
  const server = spawn(path, args, { env, stdio: 'ignore' })
  await once(server, 'spawn')
  guard(server)
  return server
}

/** A shell that kills the server when this process ends without having done so, however it ends. */
function guard (server: ChildProcess): void {
  const shell = spawn('/bin/sh', ['-c', 'read -r ended || kill -9 "$0"', String(server.pid)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  shell.stdin.on('error', () => {})
  server.once('exit', () => shell.stdin.end('ended\n'))
}

export async function kill (server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const exited = once(server, 'exit')
  server.kill('SIGKILL')
  await exited
}

/** Below the ports that the system gives to outgoing connections, so that nobody takes it during a restart. */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = randomInt(15_000, 32_000)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, HOST, () => resolve(true))
    })
    if (!free) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
