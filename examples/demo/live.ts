// Server-sent events: a page hears at once that its session has ended, or that the user's devices have changed.
import { PassThrough } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** What may change a list of devices. */
const EVENTS = ['created', 'revoked', 'expired'] as const

/**
 * Sends `session` with the id of the session, and `devices` whenever another of the user's begins or ends. The stream
 * ends with the session. The browser then asks again, with the cookie that it has by now, and hears `ended` if nobody
 * is signed in by it.
 */
export async function live (
  this: FastifyInstance, { auth }: FastifyRequest, reply: FastifyReply
): Promise<FastifyReply> {
  const stream = new PassThrough()
  const say = (event: string, data: string): void => { stream.write(`event: ${event}\ndata: ${data}\n\n`) }
  reply.type('text/event-stream').header('cache-control', 'no-store')
  stream.write('retry: 100\n\n')
  if (auth === null) {
    say('ended', '')
    return reply.send(stream.end())
  }

  const { id, userId, signal } = auth
  const onDevices = (device: { id: string, userId: string }): void => {
    if (device.userId === userId && device.id !== id && !signal.aborted) say('devices', device.id)
  }
  const stop = (): void => {
    for (const event of EVENTS) this.sessions.off(event, onDevices)
    signal.removeEventListener('abort', stop)
    stream.end()
  }
  for (const event of EVENTS) this.sessions.on(event, onDevices)
  signal.addEventListener('abort', stop)
  stream.once('close', stop)
  say('session', id)
  if (signal.aborted) stop()
  return reply.send(stream)
}
