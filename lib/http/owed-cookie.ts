import type { FastifyReply, FastifyRequest } from 'fastify'
import type { SessionRecord } from '../session/record.ts'
import type { Token } from '../session/token.ts'
import { kReply } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { addCookies, addCookiesToHead, clearingCookies, hasSessionCookie, sessionCookies } from './cookie.ts'
import { onHead } from './reply-head.ts'

/**
 * What a reply still has to say about the session cookie. It says it when Fastify sends the reply, or else with the
 * head, whoever writes that: a hijacked reply meets no hook.
 */
export class OwedCookie {
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  /** The session as it is when the cookie is written. */
  readonly #held: () => { record: SessionRecord, token: Token } | null
  #work: 'set' | 'clear' | null = null
  /** The reply has a session cookie already. */
  #isSent = false
  #watchesHead = false
  #sentStatus: number | null = null

  constructor (context: PluginContext, request: FastifyRequest, held: () => { record: SessionRecord, token: Token } | null) {
    this.#context = context
    this.#request = request
    this.#held = held
  }

  /** The client is to be sent the session's token. */
  oweToken (): void {
    this.#owe('set')
  }

  /** The client's cookie is to be taken back, if there is one. */
  oweClearing (): void {
    this.#owe(this.#isSent || hasSessionCookie(this.#context, this.#request) ? 'clear' : null)
  }

  get isOwed (): boolean {
    return this.#work !== null
  }

  /** Puts what is owed into a reply that Fastify will send. */
  write (reply: FastifyReply): void {
    addCookies(reply, this.#take())
  }

  /** The status that the client sees: what has gone out with a cookie decides, else what the reply says now. */
  statusOf (reply: FastifyReply): number {
    return this.#sentStatus ?? reply.statusCode
  }

  #owe (work: 'set' | 'clear' | null): void {
    this.#work = work
    const reply = (this.#request as SessionRequest)[kReply]
    if (reply === null || this.#watchesHead) return
    this.#watchesHead = true
    onHead(reply, (head) => {
      this.#sentStatus = head[0]
      addCookiesToHead(reply, head, this.#take())
    })
  }

  #take (): string[] {
    const work = this.#work
    const held = this.#held()
    this.#work = null
    if (work === 'clear') return clearingCookies(this.#context, this.#request)
    if (work !== 'set' || held === null) return []
    this.#isSent = true
    return sessionCookies(this.#context, this.#request, held.record, held.token)
  }
}
