import { runInThisContext } from 'node:vm'
import ts from 'typescript'
import { DEFAULT_PREFIX } from '../../lib/redis/keys.ts'

/** A member of an interface, as its comment has it. */
export interface Member {
  readonly name: string
  /** The comment without its tags, in one line. */
  readonly text: string
  /** Text of `@default`. */
  readonly default: string | undefined
  /** Text of each `@see`. */
  readonly see: readonly string[]
}

/** Reads the members of the interfaces that a file exports, with their comments. */
export function interfacesOf (path: string): Map<string, Member[]> {
  return new Map(parsed(path).statements.filter(ts.isInterfaceDeclaration).map((statement) => {
    return [statement.name.text, statement.members.filter(ts.isPropertySignature).map(memberOf)]
  }))
}

/**
 * Reads the defaults that a file destructures, as `{ prefix = 'sess:' }` does: their text by name. Of one that is a
 * constant of the file, the text of that.
 */
export function destructuredDefaults (path: string): Map<string, Set<string>> {
  const source = parsed(path)
  const constants = new Map(source.statements.filter(ts.isVariableStatement).flatMap(({ declarationList }) => {
    return declarationList.declarations.map(({ name, initializer }) => [name.getText(), initializer?.getText() ?? ''])
  }))
  const found = new Map<string, Set<string>>()
  const visit = (node: ts.Node): void => {
    if (ts.isBindingElement(node) && node.initializer !== undefined) {
      const [name, text] = [(node.propertyName ?? node.name).getText(), node.initializer.getText()]
      found.set(name, (found.get(name) ?? new Set()).add(constants.get(text) ?? text))
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** Returns the value that a default has, whose text stands in a comment or in code. */
export function valueOf (text: string): unknown {
  return (runInThisContext(`(DEFAULT_PREFIX) => (${text})`) as (prefix: string) => unknown)(DEFAULT_PREFIX)
}

function parsed (path: string): ts.SourceFile {
  const text = ts.sys.readFile(path)
  if (text === undefined) throw new Error(`there is no ${path}`)
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
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
