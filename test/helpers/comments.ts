import ts from 'typescript'

/** A member of an interface, as its comment has it. */
export interface Member {
  readonly name: string
  /** The comment without its tags, in one line. */
  readonly text: string
  /** What `@default` says. */
  readonly default: string | undefined
  /** What each `@see` says. */
  readonly see: readonly string[]
}

/** Reads the members of the interfaces that a file exports, with their comments. */
export function interfacesOf (path: string): Map<string, Member[]> {
  const text = ts.sys.readFile(path)
  if (text === undefined) throw new Error(`there is no ${path}`)
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  return new Map(source.statements.filter(ts.isInterfaceDeclaration).map((statement) => {
    return [statement.name.text, statement.members.filter(ts.isPropertySignature).map(memberOf)]
  }))
}

function memberOf (member: ts.PropertySignature): Member {
  const comments = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc)
  const tags = comments.flatMap(({ tags = [] }) => [...tags])
  // TypeScript takes the first word of some tags for a name.
  const textsOf = (name: string) => tags.filter(({ tagName }) => tagName.text === name)
    .map((tag) => (tag.getText().split('\n', 1)[0] ?? '').slice(`@${name} `.length).replace(/\*\/$/, '').trim())
  return {
    name: member.name.getText(),
    text: comments.map(({ comment }) => line(comment)).join(' '),
    default: textsOf('default')[0],
    see: textsOf('see')
  }
}

function line (comment: Parameters<typeof ts.getTextOfJSDocComment>[0]): string {
  return (ts.getTextOfJSDocComment(comment) ?? '').replace(/\s+/g, ' ').trim()
}
