//! Words that tell a telephone number from another.

use std::sync::LazyLock;

use crate::scan::rules::{Labels, zone};
use crate::scan::window::Window;

/// Words that name a number; with `!` such as say it only right before one (see [`Labels`]).
const STRONG: &str = "phone,phones,phone number,phonenumber,telephone*,tel,tels,telefon*,telefo*,telefax,fax,cellphone,call!,calls!,calling!,called!,\
    call me,call us,call him,call her,call them,text me,text us,text!,phoned,texted,whatsapp,whats app,sms,landline,hotline,helpline,\
    mobile!,mob!,cell!,ph!,dial!,ring!,desk!,contact!,contacts!,reach!,pager!,extension!,toll free!,switchboard!,my number!,\
    her number!,his number!,their number!,our number!,handy!,handyn*,mobil,mobiln*,mobilt*,mobilf*,mobiel,rufnummer,\
    anrufen,anruf!,rufen sie!,ruf mich!,erreichen,erreichbar!,meine nummer!,ihre nummer!,teléfono*,celular*,movil,móvil,llama*,\
    llámame,fijo!,mi número!,su número!,téléphone*,tél!,portable!,appele*,joignable!,mon numéro!,cellulare,chiama*,mio numero!,\
    suo numero!,telemóvel,ligar!,ligue!,meu número!,bel!,bellen!,mijn nummer!,gsm,puhelin*,tlf,mitt nummer!,min nummer!,\
    komórk*,zadzwoń,mój numer!,telefón*,телефон*,тел,моб,τηλέφωνο,电话,電話,手机,携帯,전화,휴대폰,هاتف,फ़ोन,फोन,telepono,ring mig på!,ring på!,puh!,κινητό,τηλ,звоните,звони!,\
    позвон*,đt!,sđt,điện thoại,telp,no hp,no. hp,nomor hp,nomor wa!,โทร,เบอร์,मोबाइल,ফোন,মোবাইল,טלפון,הטלפון,נייד,جوال,موبايل,تليفون,mobilní,mobitel,\
    telefonszám*,cep numara*,cep tel*,cep no!,numaram!,iletişim!,연락처,emergency contact,emergency!,next of kin!,\
    callback number!,caller!,toll free number!,msisdn*,kontaktnummer,contactnummer,notfallkontakt,rückruf!,\
    contacto de emergencia,recapito!,fone,contato!,cel!,whats!,ring til mig på!,ring til!,numeroon!";

/// Words that name a number and many other things: they do for what is grouped like one.
const WEAK: &str = "number!,numbers!,no!,nr!,office!,home!,work!,numéro!,número!,numero!,numer!,nummer!,номер!,at!,mobile!,mob!,\
    cell!,contact!,contacts!,reach!,desk!,extension!,ring!,text!,dial!,handy!,portable!,numara!,t!,m!,p!,f!";

/// Words that say of what else a number is.
const OTHER: &str = "part,parts,order,serial,invoice,reference,ref,case,ticket,tracking,model,item,account,customer,article,product,\
    flight,page,batch,lot,claim,id,isbn,version,build,release,port,line,lines,row,rows,bestell*,rechnung*,artikel*,kunden*,\
    commande,facture,pedido,factura,ordine,fattura,konta,conto,cuenta,compte";

/// What can follow a number and name it.
const BEHIND: [&[u8]; 9] = [b"office", b"fax", b"mobile", b"cell", b"phone", b"tel", b"home", b"desk", b"work"];
const BEHIND_MAX: usize = 8;

static STRONG_LABELS: LazyLock<Option<Labels>> = LazyLock::new(|| labels(STRONG));
static WEAK_LABELS: LazyLock<Option<Labels>> = LazyLock::new(|| labels(WEAK));
static OTHER_LABELS: LazyLock<Option<Labels>> = LazyLock::new(|| labels(OTHER));

fn labels(words: &str) -> Option<Labels> {
    Labels::new(&words.split(',').map(str::to_owned).collect::<Vec<_>>()).ok()
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
    let names = |labels: &Option<Labels>| labels.as_ref().is_some_and(|labels| labels.are_in(&zone));
    if names(&STRONG_LABELS) {
        Label::Strong
    } else if names(&WEAK_LABELS) && !names(&OTHER_LABELS) {
        Label::Weak
    } else {
        Label::None
    }
}

/// Whether an international number stands shortly before: the next one is a telephone number as well.
pub(super) fn follows_international(window: &Window<'_>, start: usize) -> bool {
    const GAP_MAX: usize = 24;
    const DIGITS_MIN: usize = 8;
    let before = window.context(start);
    let Some(end) = before.iter().rposition(u8::is_ascii_digit) else { return false };
    let number = &before[..=end];
    let inner = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.' | b'(' | b')');
    let from = number.iter().rposition(|byte| !inner(byte));
    before.len() - end <= GAP_MAX
        && from.is_some_and(|from| {
            number[from] == b'+' && number[from..].iter().filter(|byte| byte.is_ascii_digit()).count() >= DIGITS_MIN
        })
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
