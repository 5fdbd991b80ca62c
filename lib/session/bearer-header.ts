/** What an `Authorization` header carries under the scheme Bearer (RFC 6750, any case), else `null`. */
export function bearerOf (authorization: string | undefined): string | null {
  return authorization === undefined ? null : /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? null
}

/** Whether a header is of the scheme Bearer, whatever it carries. */
export function isBearer (authorization: string | undefined): boolean {
  return authorization !== undefined && /^bearer(\s|$)/i.test(authorization)
}
