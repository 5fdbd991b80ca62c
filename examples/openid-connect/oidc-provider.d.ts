// The part of oidc-provider that this example uses. Its own types are a package that brings those of another Node.
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http'

  export default class Provider {
    constructor (issuer: string, configuration: Record<string, unknown>)
    callback (): RequestListener
  }
}
