import type { FastifyReply, FastifyRequest } from 'fastify'

// Of every route and every server, HTTP/1 and HTTP/2, plain and with TLS: Fastify's types of the one do not fit the other.

export type AnyRequest = FastifyRequest<any, any, any, any, any, any, any>
export type AnyReply = FastifyReply<any, any, any, any, any, any, any>
