/** What no header text and no address may hold, whoever wrote it. Every test is one pass over the text. */

/** C0, DEL, C1 (NEL among them), line and paragraph separators, lone surrogates, noncharacters. */
const controls = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Noncharacter_Code_Point}]/u

/** Bidi marks, zero-width characters, soft hyphen, fillers, variation selectors, tags, the blank Braille cell. */
const invisibles = /[\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u

/** Selectors and joiners inside an emoji. */
const emojiJoiner =
  /(?<=\p{Extended_Pictographic})\uFE0F|(?<=\p{Extended_Pictographic}|\p{Emoji_Modifier}|\uFE0F)\u200D(?=\p{Extended_Pictographic})/gu

/** Joiners between letters of the scripts whose spelling uses them: a Persian first name may hold U+200C. */
const letterJoiner =
  /(?<=[\p{sc=Arab}\p{sc=Syrc}\p{sc=Mong}\p{sc=Deva}\p{sc=Beng}\p{sc=Guru}\p{sc=Gujr}\p{sc=Orya}\p{sc=Taml}\p{sc=Telu}\p{sc=Knda}\p{sc=Mlym}\p{sc=Sinh}])(?:\u200C|\u200D)(?=\p{L})/gu

/** Whether text holds what may never stand in a header: controls (tab included), line breaks, broken Unicode. */
export function hasControl(text: string): boolean {
  return controls.test(text)
}

/** Whether text holds characters a reader cannot see, direction marks included. */
export function hasInvisible(text: string): boolean {
  return invisibles.test(text)
}

/** As `hasInvisible`, but lets pass the joiners that correct spelling needs. For names people read, never for addresses. */
export function hasHidden(text: string): boolean {
  return invisibles.test(text) && invisibles.test(text.replace(emojiJoiner, '').replace(letterJoiner, ''))
}
