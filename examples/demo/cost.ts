// What a request costs. The Redis client tells of each command on a diagnostics channel of Node.
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import type { onRequestHookHandler } from 'fastify'

export interface Command {
  name: string
  /** The keys it is about, as far as the client tells: of some commands it tells no arguments. */
  keys: string[]
  /** How long Redis took to answer, in milliseconds. */
  ms: number
}

export interface Cost {
  commands: Command[]
  /** Time since the request came, in milliseconds. */
  ms: number
}

interface Message { command: string, args: string[] }

const KEY = /^(@?\{?sess|demo):/

const requests = new AsyncLocalStorage<{ commands: Command[], startedAt: number }>()
const startedAt = new WeakMap<object, number>()

channel('tracing:ioredis:command:start').subscribe((message) => {
  startedAt.set(message as Message, performance.now())
})
channel('tracing:ioredis:command:asyncEnd').subscribe((message) => {
  const { command, args } = message as Message
  const ms = performance.now() - (startedAt.get(message as Message) ?? NaN)
  requests.getStore()?.commands.push({ name: command.toUpperCase(), keys: args.filter((arg) => KEY.test(arg)), ms })
})

/** Counts the commands of a request from here on, in every function that it calls. */
export const countCommands: onRequestHookHandler = (_request, _reply, done) => {
  requests.run({ commands: [], startedAt: performance.now() }, done)
}

/** Returns what the request at work has cost so far. */
export function costSoFar (): Cost {
  const request = requests.getStore()
  return { commands: [...request?.commands ?? []], ms: performance.now() - (request?.startedAt ?? NaN) }
}
