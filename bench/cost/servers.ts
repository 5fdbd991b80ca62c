import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { NotThere } from '../lib.ts'
import { Load } from './load.ts'
import type { Exchange } from './load.ts'
import type { Answer, Question } from './server.ts'
import { bodyOf, userOf } from './variants.ts'
import type { Variant } from './variants.ts'

const FILE = fileURLToPath(new URL('server.ts', import.meta.url))

/** A server that waits for its turn is not to be tidied up meanwhile, and its code compiled anew in its turn: one that is busy is not either. */
const STAY_WARM = ['--no-memory-reducer', '--no-flush-bytecode']

/** The server of one variant, under load. */
export class Subject {
  readonly variant: Variant
  readonly #child: ChildProcess
  readonly #port: number
  #load: Load
  /** What it is asked. */
  exchanges: readonly Exchange[] = []
  /** The same requests, for a server that knows nobody. */
  rawExchanges: readonly Exchange[] = []
  #asked = 0

  private constructor (variant: Variant, child: ChildProcess, port: number, load: Load) {
    this.variant = variant
    this.#child = child
    this.#port = port
    this.#load = load
  }

  get pid (): number {
    return this.#child.pid ?? NaN
  }

  /** @throws NotThere when it cannot be measured here */
  static async start (variant: Variant, redis: string): Promise<Subject> {
    const child = fork(FILE, [variant.name, redis], { execArgv: [...STAY_WARM, '--import', 'tsx'], env: { ...process.env, NODE_ENV: 'production' } })
    const [answer] = await Promise.race([
      once(child, 'message') as Promise<[Answer]>,
      once(child, 'exit').then((): never => { throw new Error(`the server of ${variant.name} has ended`) })
    ])
    if ('port' in answer) return new Subject(variant, child, answer.port, await Load.open(answer.port))
    child.disconnect()
    throw new NotThere('notThere' in answer ? answer.notThere : '')
  }

  async stop (): Promise<void> {
    this.#load.close()
    const ended = once(this.#child, 'exit')
    this.#child.disconnect()
    await ended
  }

  /** Goes on with so many connections. */
  async connect (connections: number): Promise<void> {
    this.#load.close()
    this.#load = await Load.open(this.#port, connections)
  }

  /** Signs users in, and gives the headers that carry their sessions. */
  async signIn (count: number): Promise<string[]> {
    const headers: string[] = []
    await this.#load.run(Array.from({ length: count }, (_, number) => ({
      request: `POST /login?user=${userOf(number)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`,
      body: JSON.stringify({ ok: true })
    })), { onReply: (index, reply) => { headers[index] = credentialOf(reply) }, patient: true })
    return headers
  }

  /** Has it keep what it forgets while the others have their turn, if it keeps any. */
  async fill (): Promise<void> {
    if (this.variant.forgets === true) await this.ask(this.exchanges.length)
  }

  /** The next `count` of its exchanges. */
  async ask (count: number): Promise<void> {
    await this.answer(this.exchanges, count)
  }

  /** The next `count` of these exchanges, again from the front after the last. */
  async answer (exchanges: readonly Exchange[], count: number): Promise<void> {
    await this.#load.run(Array.from({ length: count }, () => exchanges[this.#asked++ % exchanges.length] as Exchange))
  }

  async cpuMicros (): Promise<number> {
    const answer = await this.tell('cpu')
    return 'micros' in answer ? answer.micros : NaN
  }

  /** What is left of its heap when the garbage is gone. */
  async liveBytes (): Promise<number> {
    const answer = await this.tell('heap')
    return 'bytes' in answer ? answer.bytes : NaN
  }

  async tell (question: Question): Promise<Answer> {
    const answered = once(this.#child, 'message') as Promise<[Answer]>
    this.#child.send(question)
    return (await answered)[0]
  }
}

/** The requests that carry these sessions, and what each is answered. */
export function exchangesOf ({ of, path = '/me' }: Pick<Variant, 'of' | 'path'>, headers: readonly string[], user = userOf): Exchange[] {
  const one = (header: string, whose: string | null): Exchange => ({
    request: `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${header}\r\n`,
    body: JSON.stringify(bodyOf(of === 'nobody' ? null : whose))
  })
  return headers.length === 0 ? [one('', null)] : headers.map((header, number) => one(header, user(number)))
}

/** What a client has to send to be known by the session that this reply gave it. */
function credentialOf (reply: string): string {
  const bearer = /^authorization: .*\r\n/im.exec(reply)?.[0]
  if (bearer !== undefined) return bearer
  const cookies = [...reply.matchAll(/^set-cookie: ([^;\r]+)/gim)].map(([, pair]) => pair)
  if (cookies.length === 0) throw new Error(`nobody was signed in: ${reply}`)
  return `Cookie: ${cookies.join('; ')}\r\n`
}
