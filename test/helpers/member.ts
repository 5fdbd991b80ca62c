import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { Redis } from 'ioredis'
import { assertions, freePort, HOST, kill, launchWith, newDirectory } from './redis.ts'
import type { Owner } from './redis.ts'

/** What all of them are started with. A replica that was away is in sync again in a moment. */
const ARGS = ['--save', '', '--appendonly', 'no', '--repl-diskless-sync', 'yes', '--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1', '--enable-debug-command', 'yes']

/** One of several servers: can be killed and brought back on its port, frozen and resumed. */
export class Member {
  readonly port: number
  /** For assertions: waits for the server as long as it takes. */
  readonly client: Redis
  readonly #args: string[]
  readonly #directory: string
  #server: ChildProcess | undefined
  /** It neither was killed nor is frozen. */
  isUp = false

  constructor (port: number, directory: string, args: string[]) {
    this.port = port
    this.client = assertions(port)
    this.#directory = directory
    this.#args = args
  }

  get name (): string {
    return `${HOST}:${this.port}`
  }

  async start (...more: string[]): Promise<void> {
    const args = [...this.#args, '--bind', HOST, '--port', String(this.port), '--dir', this.#directory, '--daemonize', 'no', ...more]
    const server = await launchWith(args)
    this.#server = server
    const stop = new AbortController()
    try {
      await Promise.race([
        this.client.ping(),
        once(server, 'exit', { signal: stop.signal }).then(() => { throw new Error('redis-server ended at its start') })
      ])
    } finally {
      stop.abort()
    }
    this.isUp = true
  }

  async kill (): Promise<void> {
    this.isUp = false
    if (this.#server !== undefined) await kill(this.#server)
  }

  freeze (): void {
    this.isUp = false
    this.#server?.kill('SIGSTOP')
  }

  resume (): void {
    this.#server?.kill('SIGCONT')
    this.isUp = true
  }

  /** What INFO says of replication. */
  async replication (): Promise<Record<string, string>> {
    const info = await this.client.info('replication')
    return Object.fromEntries([...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]))
  }

  async close (): Promise<void> {
    this.client.disconnect()
    await this.kill()
    await rm(this.#directory, { recursive: true, force: true })
  }
}

/** A server that is not started yet, gone when the test ends. */
export async function newMember (t: Owner, args: (port: number, directory: string) => Promise<string[]> | string[] = () => []): Promise<Member> {
  const directory = await newDirectory()
  const port = await freePort()
  const member = new Member(port, directory, await args(port, directory))
  t.teardown(async () => { await member.close() })
  return member
}

/** One that keeps sessions. */
export async function newRedis (t: Owner, args: string[] = []): Promise<Member> {
  return await newMember(t, () => [...ARGS, ...args])
}
