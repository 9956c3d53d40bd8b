//! Words that tell a telephone number from another.

use std::sync::LazyLock;

use crate::scan::rules::{Labels, zone};
use crate::scan::window::Window;

/// Words that name a number.
const STRONG: &str = "phone phones telephone tel mobile mob cell cellphone fax call calling called dial ring text sms whatsapp \
    desk landline hotline helpline handy handynummer mobil mobilnummer mobiltelefon telefon telefonnummer \
    rufnummer anrufen telefax telefono teléfono celular movil móvil llamar fijo téléphone telefone telemóvel \
    portable appeler cellulare chiamare telefoon telefoonnummer mobiel gsm puhelin puhelinnumero telefonnr \
    tlf tlf. numer telefonu komórka telefonszám telefón номер телефон тел телефону моб τηλέφωνο 电话 電話 手机 携帯 \
    전화 휴대폰 هاتف फ़ोन फोन telepono numero phone_number phonenumber contact reach phoned texted pager extension \
    toll-free switchboard";

/// Words that name a number and many other things: they do for what is grouped like one.
const WEAK: &str = "number numbers no nr office home work numéro número nummer at";

/// What can follow a number and name it.
const BEHIND: [&[u8]; 9] = [b"office", b"fax", b"mobile", b"cell", b"phone", b"tel", b"home", b"desk", b"work"];
const BEHIND_MAX: usize = 8;

static STRONG_LABELS: LazyLock<Option<Labels>> = LazyLock::new(|| labels(STRONG));
static WEAK_LABELS: LazyLock<Option<Labels>> = LazyLock::new(|| labels(WEAK));

fn labels(words: &str) -> Option<Labels> {
    Labels::new(&words.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).ok()
}

/// How much the words before a number say of it.
#[derive(PartialEq, Eq)]
pub(super) enum Label {
    None,
    Weak,
    Strong,
}

/// What the words before a number say of it.
pub(super) fn label(window: &Window<'_>, start: usize) -> Label {
    let zone = zone(window, start);
    let names = |labels: &Option<Labels>| labels.as_ref().is_some_and(|labels| labels.are_in(zone));
    if names(&STRONG_LABELS) {
        Label::Strong
    } else if names(&WEAK_LABELS) {
        Label::Weak
    } else {
        Label::None
    }
}

/// Whether what follows names the number: ` (mobile)`, ` fax`. None: it has not come yet.
pub(super) fn named_behind(window: &Window<'_>, end: usize) -> Option<bool> {
    let (at, open) = window.run(end, 2, |byte| matches!(byte, b' ' | b'('));
    if at == end || open {
        return if open { None } else { Some(false) };
    }
    let (last, open) = window.run(at, BEHIND_MAX, |byte| byte.is_ascii_alphabetic());
    if open {
        return None;
    }
    let word = window.text[at..last].to_ascii_lowercase();
    Some(BEHIND.contains(&word.as_slice()))
}
